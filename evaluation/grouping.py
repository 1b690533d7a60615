"""How much less frames tell that came in groups: lots, panels, parts that were photographed several times.

Measures the design effect that `evaluation.statistics` divides counts by. Makes no intervals itself.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, owens_t
from scipy.stats import rankdata

from evaluation.statistics import INDEPENDENT, MIN_GROUPS, Design

MIN_EVENTS = 10
"""Fewest outcomes whose spread over the groups can be trusted; with fewer it is also inferred from the scores.
Found by simulation: with the spread alone, a false "safe" at a level of 2.5 % happened in up to 12 %."""
RARE = 0.05
"""Least share of frames on which an outcome is taken to fall, where a group's likeness is inferred from scores."""

Codes = NDArray[np.int64]


def group_codes(groups: Sequence[str]) -> Codes | None:
    """A number per frame, `int64` `(n,)`, equal within a group; a frame without one ("") stands by itself.

    None where no two frames share a group or all are of one: there is nothing to tell groups apart by.
    """
    known: dict[str | int, int] = {}
    codes = np.array([known.setdefault(name or place, len(known)) for place, name in enumerate(groups)], np.int64)
    return codes if MIN_GROUPS <= len(known) < len(codes) else None


def design_of(outcome: ArrayLike, codes: Codes | None, scores: Sequence[ArrayLike] = ()) -> Design:
    """What grouping costs the mean of `outcome` `(n,)` (-1, 0 or 1 per frame); `codes` as `group_codes` gives.

    The effect is the variance of the mean as the groups differ, over that of independent frames (Rao and Scott
    1992), and never below one. With fewer than MIN_EVENTS outcomes (or exceptions) that says next to nothing.
    Then it is at least what an outcome of that frequency would have if it followed from a normal variable as
    alike within groups as the most alike of `scores` (each `(n,)`, by ranks).
    """
    values = np.asarray(outcome, np.float64)
    if codes is None or not len(values):
        return INDEPENDENT
    codes = np.unique(codes, return_inverse=True)[1]
    sizes = np.bincount(codes)
    if len(sizes) < MIN_GROUPS:
        return Design(float(len(values)), MIN_GROUPS)
    if sizes.max() == 1:
        return INDEPENDENT
    effect = max(1.0, _observed_effect(values, codes))
    events = min(np.count_nonzero(values), np.count_nonzero(values != 1))
    if events < MIN_EVENTS:
        effect = max(effect, _inferred_effect(events / len(values), sizes, codes, scores))
    return Design(effect, float(len(sizes)))


def summed_variance(influence: NDArray[np.float64], codes: Codes) -> float:
    """Variance of a sum of per-frame influences (mean zero) where frames of a group go together."""
    sums = np.bincount(codes, influence)
    groups = np.count_nonzero(np.bincount(codes))
    return float((sums**2).sum() * groups / (groups - 1))


def _observed_effect(values: NDArray[np.float64], codes: Codes) -> float:
    rest = values - values.mean()
    simple = float((rest**2).sum())
    return summed_variance(rest, codes) / simple if simple > 0 else 1.0


def _inferred_effect(share: float, sizes: Codes, codes: Codes, scores: Sequence[ArrayLike]) -> float:
    alike = max((_likeness(np.asarray(score, np.float64), codes) for score in scores), default=0.0)
    weighted = float((sizes.astype(float) ** 2).sum() / sizes.sum())
    return 1 + (weighted - 1) * _binary_likeness(alike, max(RARE, share))


def _likeness(scores: NDArray[np.float64], codes: Codes) -> float:
    """Intraclass correlation of the scores' normal ranks, by one-way analysis of variance; 0 to 1."""
    values = ndtri((rankdata(scores) - 0.5) / len(scores))
    sizes = np.bincount(codes)
    groups, frames = len(sizes), len(values)
    means = np.bincount(codes, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (groups - 1)
    within = float(((values - means[codes]) ** 2).sum()) / (frames - groups)
    typical = (frames - float((sizes.astype(float) ** 2).sum()) / frames) / (groups - 1)
    total = between + (typical - 1) * within
    return min(max((between - within) / total, 0.0), 1.0) if total > 0 else 0.0


def _binary_likeness(alike: float, share: float) -> float:
    """Correlation of two indicators of frequency `share` cut from normal variables of correlation `alike`."""
    cut = float(ndtri(share))
    both = share - 2 * float(owens_t(cut, math.sqrt((1 - alike) / (1 + alike))))
    return max(0.0, (both - share**2) / (share * (1 - share)))
