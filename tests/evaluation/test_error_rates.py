"""How often the procedure errs, by simulation: what it says it does, it does; what it guards against happens else.

Frames are drawn as a plant's would be: a defect that one quality loses is likely lost at the next one too.
"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from evaluation.decision import Margins, decide, judge
from evaluation.grouping import design_of, group_codes
from evaluation.kpis import Kpi, compute_kpis
from evaluation.scored import Scored
from evaluation.statistics import INDEPENDENT, Design, non_inferiority, paired_difference, proportion

ALPHA = 0.05
MARGINS = Margins(recall=0.05, false_alarms=0.05)
DEFECTIVE = 150
QUALITIES = (90, 70, 50, 30)


def swept() -> list[Kpi]:
    """KPIs of the originals and four qualities without any loss, with plenty of good frames."""
    flags = [False] * 1000 + [True] * DEFECTIVE
    frames = {"frame_id": range(len(flags)), "defect": ["pit" if f else "" for f in flags], "group": ""}
    frames |= {"width": 8, "height": 8, "bytes": 9, "score_d": np.array(flags, float), "flag_d": flags}
    originals = pd.DataFrame(frames)
    results = [originals.assign(codec="a", quality=quality) for quality in QUALITIES]
    return compute_kpis(originals, pd.concat(results), [Scored("d", "frozen")])


def events(shares: np.ndarray, alike: float, runs: int, rng: np.random.Generator) -> np.ndarray:
    """How many of the defective frames fall under `shares` per quality: `(runs, qualities)`.

    A frame's qualities are correlated by `alike`.
    """
    frame = rng.normal(size=(runs, DEFECTIVE, 1))
    own = rng.normal(size=(runs, DEFECTIVE, len(shares)))
    return (math.sqrt(alike) * frame + math.sqrt(1 - alike) * own < ndtri(shares)).sum(axis=1)


def false_safe(losses: list[float], alike: float, runs: int, *, lowest: bool = False) -> float:
    """How often a quality with a true loss of the margin is called safe; `lowest`: testing in no fixed order."""
    rng = np.random.default_rng(0)
    kpis = swept()
    lost = events(np.array(losses) + 0.01, alike, runs, rng)
    gained = events(np.full(len(losses), 0.01), alike, runs, rng)
    unsafe = {quality for quality, loss in zip(QUALITIES, losses, strict=True) if loss >= MARGINS.recall}
    errors = 0
    for b, c in zip(lost.tolist(), gained.tolist(), strict=True):
        rows = [replace(kpi, lost=b[place], gained=c[place]) for place, kpi in enumerate(kpis[1:])]
        if lowest:
            errors += any(k.quality in unsafe and judge(k, MARGINS, ALPHA) == "safe" for k in rows)
        else:
            decision = decide([kpis[0], *rows], MARGINS, alpha=ALPHA)
            errors += decision.verdict == "safe" and decision.kpi.quality in unsafe
    return errors / runs


@pytest.mark.parametrize("alike", [0.3, 0.9])
@pytest.mark.parametrize("losses", [[0.05] * 4, [0.0, 0.05, 0.05, 0.05], [0.0, 0.0, 0.0, 0.05]])
def test_a_quality_at_the_margin_is_called_safe_no_more_often_than_alpha(losses: list[float], alike: float) -> None:
    runs = 2000

    rate = false_safe(losses, alike, runs)

    assert rate <= ALPHA + 2.5 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def test_the_test_of_one_quality_uses_the_alpha_that_it_has() -> None:
    """Far below alpha would mean that more frames are asked for than are needed."""
    assert false_safe([0.0, 0.0, 0.0, 0.05], 0.9, 2000) > ALPHA / 2


def test_in_no_fixed_order_the_error_would_be_twice_what_is_said() -> None:
    assert false_safe([0.05] * 4, 0.3, 2000, lowest=True) > 2 * ALPHA


@pytest.mark.parametrize(("share", "total"), [(0.95, 60), (0.8, 40), (0.5, 100), (0.03, 150)])
def test_wilsons_interval_covers_on_average_what_it_says(share: float, total: int) -> None:
    """Exact, over all counts; on average over shares nearby, since coverage jumps with the share (Newcombe 1998)."""
    limits = np.array([proportion(count, total) for count in range(total + 1)])
    near = np.clip(share + np.linspace(-0.02, 0.02, 41), 0.005, 0.995)
    weights = binom.pmf(np.arange(total + 1)[:, None], total, near)

    covered = ((limits[:, 1:2] <= near) & (near <= limits[:, 2:3])) * weights

    assert covered.sum(axis=0).mean() == pytest.approx(0.95, abs=0.015)


def plant(groups: int, size: int, alike: tuple[float, float], recall: float, loss: float, runs: int) -> np.ndarray:
    """Scores before and after compression, `(2, runs, frames)`, threshold 0, alike within groups.

    The first of `alike` is the scores' likeness within a group, the second that of what compression does to them.
    """
    rng = np.random.default_rng(3)
    codes = np.arange(groups).repeat(size)

    def drawn(rho: float) -> np.ndarray:
        own = rng.normal(size=(runs, groups * size))
        return math.sqrt(rho) * rng.normal(size=(runs, groups))[:, codes] + math.sqrt(1 - rho) * own

    spread = 0.2
    before = ndtri(recall) + drawn(alike[0])
    mean_after = ndtri(recall - loss) * math.sqrt(1 + spread**2)
    after = before - ndtri(recall) + mean_after + spread * drawn(alike[1])
    return np.stack([before, after])


PLANTS = [
    (20, 15, (0.3, 0.5), 0.93),
    (8, 40, (0.2, 0.2), 0.93),
    (10, 15, (0.6, 0.9), 0.99),
    (5, 60, (0.5, 0.9), 0.99),
]


@pytest.mark.parametrize(("groups", "size", "alike", "recall"), PLANTS)
def test_with_groups_a_false_safe_stays_as_rare_as_alpha(
    groups: int, size: int, alike: tuple[float, float], recall: float
) -> None:
    """At the margin's boundary; frames taken for independent would err more often than is said."""
    alpha, runs, frames = 0.025, 1000, groups * size
    before, after = plant(groups, size, alike, recall, MARGINS.recall, runs)
    codes = group_codes([f"lot-{place // size}" for place in range(frames)])
    errors = {"grouped": 0, "independent": 0}
    for scores, changed in zip(before, after, strict=True):
        first, second = scores > 0, changed > 0
        lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
        design = design_of(first.astype(int) - second, codes, [changed, changed - scores])
        for name, taken in (("grouped", design), ("independent", INDEPENDENT)):
            errors[name] += non_inferiority(lost, gained, frames, MARGINS.recall, taken) < alpha

    assert errors["grouped"] / runs <= alpha + 2.5 * math.sqrt(alpha * (1 - alpha) / runs)
    assert errors["independent"] / runs > 1.5 * alpha


@pytest.mark.parametrize(
    ("groups", "size", "alike"), [(20, 15, (0.3, 0.5)), (8, 40, (0.2, 0.2)), (10, 30, (0.5, 0.9))]
)
def test_only_the_grouped_intervals_cover_where_groups_are_alike(
    groups: int, size: int, alike: tuple[float, float]
) -> None:
    recall, loss, runs, frames = 0.85, 0.1, 300, groups * size
    before, after = plant(groups, size, alike, recall, loss, runs)
    codes = group_codes([f"lot-{place // size}" for place in range(frames)])
    covered = np.zeros((2, 2))
    for scores, changed in zip(before > 0, after > 0, strict=True):
        lost, gained = int((scores & ~changed).sum()), int((changed & ~scores).sum())
        designs = (design_of(changed, codes), design_of(scores.astype(int) - changed, codes))
        for row, (of_recall, of_loss) in enumerate((designs, (Design(), Design()))):
            estimate = proportion(int(changed.sum()), frames, design=of_recall)
            covered[row, 0] += estimate.low <= recall - loss <= estimate.high
            estimate = paired_difference(lost, gained, frames, design=of_loss)
            covered[row, 1] += estimate.low <= loss <= estimate.high

    assert (covered[0] / runs > 0.91).all()
    assert (covered[1] / runs < (0.85, 0.91)).all()


def test_the_simulated_plant_loses_what_it_should() -> None:
    before, after = plant(10, 100, (0.3, 0.3), 0.9, 0.1, 200)

    assert (before > 0).mean() == pytest.approx(0.9, abs=0.015)
    assert (after > 0).mean() == pytest.approx(ndtr(ndtri(0.8)), abs=0.02)
