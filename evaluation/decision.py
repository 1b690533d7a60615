"""From KPIs to one verdict: the smallest rate shown to be safe for the detector, or why there is none.

The verdict is about the first codec. Its qualities are tested from the best downwards, and testing stops at
the first that is not shown to be safe (fixed sequence), so that no allowance for several tests is due. A
quality is safe where the upper 95 % limits of both paired differences to the originals, the loss of recall
and the rise of false alarms, lie below their margins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.kpis import ORIGINAL, Kpi
from evaluation.statistics import pairs_needed

Verdict = Literal["safe", "unsafe", "inconclusive"]

MIN_RECALL = 0.5
"""Recall on the originals below which there is no verdict: a detector that finds little has little to lose."""


@dataclass(frozen=True)
class Margins:
    """The largest loss of recall and rise of the false-alarm rate that are acceptable, as shares of one."""

    recall: float
    false_alarms: float


@dataclass(frozen=True)
class Decision:
    """The verdict and the setting that it is about.

    *safe*: the smallest rate shown to be safe. *unsafe*: the best quality, at which a loss beyond the margin
    is shown already. *inconclusive*: the smallest rate at which, and above which, no loss beyond the margin
    was seen, though it cannot be ruled out; or the best quality where it was seen but is not shown.

    `more_defective` and `more_good`: how many further test frames would show an inconclusive setting safe
    were the losses to stay as seen; None where more of the same would not. `blind`: the detector finds too few
    defects on the originals for a loss to show.
    """

    verdict: Verdict
    kpi: Kpi
    original: Kpi
    more_defective: int | None
    more_good: int | None
    blind: bool = False


def decide(kpis: Sequence[Kpi], margins: Margins) -> Decision:
    """Judge the first codec for the first detector; `kpis` as `compute_kpis` returns them."""
    original = kpis[0]
    first = next(k for k in kpis if k.codec != ORIGINAL)
    sequence = [k for k in kpis if (k.codec, k.detector) == (first.codec, original.detector)]
    if original.recall.value < MIN_RECALL:
        return Decision("inconclusive", first, original, None, None, blind=True)
    safe = _leading(sequence, [judge(k, margins) == "safe" for k in sequence])
    if safe:
        return Decision("safe", safe[-1], original, 0, 0)
    if judge(first, margins) == "unsafe":
        return Decision("unsafe", first, original, None, None)
    open_ones = _leading(sequence, [_seems_safe(k, margins) for k in sequence])
    if not open_ones:
        return Decision("inconclusive", first, original, None, None)
    defective = [pairs_needed(k.lost, k.gained, k.defective, margins.recall) for k in open_ones]
    good = [pairs_needed(k.added, k.removed, k.good, margins.false_alarms) for k in open_ones]
    return Decision(
        "inconclusive",
        open_ones[-1],
        original,
        _more(defective, first.defective),
        _more(good, first.good),
    )


def judge(kpi: Kpi, margins: Margins) -> Verdict:
    """One setting by itself: shown safe, shown to be beyond a margin, or neither."""
    loss, rise = kpi.recall_loss, kpi.false_alarm_rise
    if loss.high < margins.recall and rise.high < margins.false_alarms:
        return "safe"
    if loss.low > margins.recall or rise.low > margins.false_alarms:
        return "unsafe"
    return "inconclusive"


def _seems_safe(kpi: Kpi, margins: Margins) -> bool:
    return kpi.recall_loss.value < margins.recall and kpi.false_alarm_rise.value < margins.false_alarms


def _leading(sequence: Sequence[Kpi], passes: Sequence[bool]) -> list[Kpi]:
    """The settings before the first that does not pass."""
    stop = passes.index(False) if False in passes else len(passes)
    return list(sequence[:stop])


def _more(needed: Sequence[int | None], have: int) -> int | None:
    numbers = [n for n in needed if n is not None]
    return max(0, max(numbers) - have) if len(numbers) == len(needed) else None
