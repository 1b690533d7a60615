"""From KPIs to one verdict: the smallest rate shown to be safe for the detector, or why there is none.

The verdict is about the first codec and the first detector. Its qualities are tested from the best downwards,
and testing stops at the first that is not shown to be safe (fixed sequence), so that no allowance for several
tests is due: the probability of calling any unsafe quality safe is at most alpha.

A quality is safe where two one-sided tests at alpha both hold: the loss of recall and the rise of false alarms,
paired with the originals, lie below their margins. Both must hold, so that none costs the other (intersection
and union). P. H. Westfall and A. Krishen, J. Stat. Plan. Inference 99 (2001) 25; R. L. Berger, Technometrics
24 (1982) 295.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.kpis import ORIGINAL, Kpi
from evaluation.statistics import Estimate, non_inferiority, paired_difference, pairs_needed
from inspect_compress.errors import ConfigError

Verdict = Literal["safe", "unsafe", "inconclusive"]

ALPHA = 0.025
"""One-sided; its limits are those of a 95 % interval. The usual level of non-inferiority trials (ICH E9, 5.5)."""
MIN_RECALL = 0.5
"""Recall on the originals below which there is no verdict: a detector that finds little has little to lose."""


@dataclass(frozen=True)
class Margins:
    """The largest loss of recall and rise of the false-alarm rate that are acceptable, as shares of one."""

    recall: float
    false_alarms: float


@dataclass(frozen=True)
class Differences:
    """The two differences of a setting with the limits that its tests at `alpha` rest on.

    `p_value`: the larger of the two tests'; the setting by itself is shown safe at any alpha above it.
    """

    recall_loss: Estimate
    false_alarm_rise: Estimate
    p_value: float


@dataclass(frozen=True)
class Decision:
    """The verdict and the setting that it is about.

    *safe*: the smallest rate shown to be safe. *unsafe*: the best quality, at which a loss beyond the margin
    is shown already. *inconclusive*: the smallest rate at which, and above which, no loss beyond the margin
    was seen, though it cannot be ruled out; or the best quality where it was seen but is not shown.

    `more_defective` and `more_good`: how many further test frames would show an inconclusive setting safe
    were the losses to stay as seen; None where more of the same would not. `blind`: the detector finds too few
    defects on the originals for a loss to show. `alpha`: one-sided, of the tests.
    """

    verdict: Verdict
    kpi: Kpi
    original: Kpi
    more_defective: int | None
    more_good: int | None
    blind: bool = False
    alpha: float = ALPHA


def decide(kpis: Sequence[Kpi], margins: Margins, *, alpha: float = ALPHA, scenario: str = "frozen") -> Decision:
    """Judge the first codec for the first detector as trained in `scenario`; `kpis` as `compute_kpis` returns.

    A false "safe" has a probability of at most alpha, whatever the number of qualities. "Unsafe" rests on two
    tests of which either suffices, so a false one at the best quality may have up to twice alpha.
    Raises ConfigError where the scenario was not run for that detector.
    """
    original = kpis[0]
    first_codec = next(k.codec for k in kpis if k.codec != ORIGINAL)
    wanted = (first_codec, original.detector, scenario)
    sequence = [k for k in kpis if (k.codec, k.detector, k.scenario) == wanted]
    if not sequence:
        raise ConfigError(f"scenario {scenario}: was not run for the detector {original.detector}; name another")
    if original.recall.value < MIN_RECALL:
        return Decision("inconclusive", sequence[0], original, None, None, blind=True, alpha=alpha)
    verdicts = [judge(k, margins, alpha) for k in sequence]
    safe = _leading(sequence, [verdict == "safe" for verdict in verdicts])
    if safe:
        return Decision("safe", safe[-1], original, 0, 0, alpha=alpha)
    if verdicts[0] == "unsafe":
        return Decision("unsafe", sequence[0], original, None, None, alpha=alpha)
    open_ones = _leading(sequence, [_seems_safe(k, margins) for k in sequence])
    if not open_ones:
        return Decision("inconclusive", sequence[0], original, None, None, alpha=alpha)
    more = _frames_missing(open_ones, margins, alpha)
    return Decision("inconclusive", open_ones[-1], original, *more, alpha=alpha)


def judge(kpi: Kpi, margins: Margins, alpha: float = ALPHA) -> Verdict:
    """One setting by itself: shown safe, shown to be beyond a margin, or neither.

    Safe where the upper limits of both intervals at confidence `1 - 2 alpha` are below their margins, and
    beyond one where the lower limit is above it.
    """
    p_values = _p_values(kpi, margins)
    if max(p_values) < alpha:
        return "safe"
    return "unsafe" if max(p_values) > 1 - alpha else "inconclusive"


def differences(kpi: Kpi, margins: Margins, alpha: float = ALPHA) -> Differences:
    """What the tests of one setting found: limits at confidence `1 - 2 alpha`, and the p-value."""
    confidence = 1 - 2 * alpha
    return Differences(
        paired_difference(kpi.lost, kpi.gained, kpi.defective, confidence, kpi.loss_design),
        paired_difference(kpi.added, kpi.removed, kpi.good, confidence, kpi.rise_design),
        max(_p_values(kpi, margins)),
    )


def _p_values(kpi: Kpi, margins: Margins) -> tuple[float, float]:
    """Of the hypotheses that recall falls, and that false alarms rise, by the margin or more."""
    return (
        non_inferiority(kpi.lost, kpi.gained, kpi.defective, margins.recall, kpi.loss_design),
        non_inferiority(kpi.added, kpi.removed, kpi.good, margins.false_alarms, kpi.rise_design),
    )


def _frames_missing(open_ones: Sequence[Kpi], margins: Margins, alpha: float) -> tuple[int | None, int | None]:
    """How many more defective and good frames would show all of the settings safe."""
    defective = [pairs_needed(k.lost, k.gained, k.defective, margins.recall, alpha, k.loss_design) for k in open_ones]
    good = [pairs_needed(k.added, k.removed, k.good, margins.false_alarms, alpha, k.rise_design) for k in open_ones]
    return _more(defective, open_ones[0].defective), _more(good, open_ones[0].good)


def _seems_safe(kpi: Kpi, margins: Margins) -> bool:
    return kpi.recall_loss.value < margins.recall and kpi.false_alarm_rise.value < margins.false_alarms


def _leading(sequence: Sequence[Kpi], passes: Sequence[bool]) -> list[Kpi]:
    """The settings before the first that does not pass."""
    stop = passes.index(False) if False in passes else len(passes)
    return list(sequence[:stop])


def _more(needed: Sequence[int | None], have: int) -> int | None:
    numbers = [n for n in needed if n is not None]
    return max(0, max(numbers) - have) if len(numbers) == len(needed) else None
