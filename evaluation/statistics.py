"""Intervals for proportions, paired differences of proportions, and AUROC. Knows nothing of codecs or frames.

All intervals are two-sided, 95 % by default. They treat frames as independent of each other.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value and the limits of its confidence interval; all NaN where nothing was observed."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def proportion(successes: float, total: float, confidence: float = CONFIDENCE) -> Estimate:
    """`successes / total` with Wilson's score interval.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; recommended by R. G. Newcombe, Stat. Med. 17 (1998) 857.
    """
    if total == 0:
        return UNKNOWN
    z2 = _z(confidence) ** 2
    share = successes / total
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Estimate(share, low, high)


def paired_difference(lost: float, gained: float, pairs: float, confidence: float = CONFIDENCE) -> Estimate:
    """`(lost - gained) / pairs` with Tango's score interval for paired proportions.

    `lost` counts the pairs positive the first time only, `gained` those positive the second time only, so
    that a value above zero means that fewer were positive the second time. Counts may be fractional.

    T. Tango, Stat. Med. 17 (1998) 891.
    """
    if pairs == 0:
        return UNKNOWN
    z = _z(confidence)
    value = (lost - gained) / pairs
    low = _root(lambda delta: _tango(lost, gained, pairs, delta) - z, -1.0, value)
    high = _root(lambda delta: _tango(lost, gained, pairs, delta) + z, value, 1.0)
    return Estimate(value, low, high)


def pairs_needed(lost: float, gained: float, pairs: float, margin: float) -> int | None:
    """How many pairs would show that the difference is below `margin`, were it to stay as observed.

    None where the difference observed is not below the margin: more of the same would not show it.
    """
    if pairs == 0 or (lost - gained) / pairs >= margin:
        return None

    def too_few(n: int) -> bool:
        return paired_difference(lost * n / pairs, gained * n / pairs, n).high >= margin

    enough = max(1, math.ceil(pairs))
    while too_few(enough):
        enough *= 2
    few = 0
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if too_few(middle) else (few, middle)
    return enough


def auroc(scores: ArrayLike, labels: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Area under the ROC curve with DeLong's variance and limits taken on the logit scale.

    `scores` `(n,)` finite, higher is more defective; `labels` `(n,)`, true where defective. Where the classes
    are perfectly separated, DeLong's variance is zero; the limit is then Wilson's for as many perfect trials
    as the rarer class has frames, which is cautious.

    E. R. DeLong et al., Biometrics 44 (1988) 837; logit: M. S. Pepe, *Statistical Evaluation of Medical
    Tests* (2003), section 5.2.
    """
    truth = np.asarray(labels, bool)
    values = np.asarray(scores, np.float64)
    positive, negative = values[truth], values[~truth]
    if not len(positive) or not len(negative):
        return UNKNOWN
    area, variance = _delong(positive, negative)
    if area in (0.0, 1.0):
        rarer = min(len(positive), len(negative))
        return proportion(area * rarer, rarer, confidence)
    half = _z(confidence) * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    return Estimate(area, _expit(logit - half), _expit(logit + half))


def _delong(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> tuple[float, float]:
    """AUROC and its variance, by ranks (Sun and Xu, IEEE Signal Process. Lett. 21 (2014) 1389)."""
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    above = (ranks[:m] - rankdata(positive)) / n
    below = 1 - (ranks[m:] - rankdata(negative)) / m
    spread_above = above.var(ddof=1) / m if m > 1 else 0.0
    spread_below = below.var(ddof=1) / n if n > 1 else 0.0
    return float(above.mean()), float(spread_above + spread_below)


def _tango(lost: float, gained: float, pairs: float, delta: float) -> float:
    """Tango's score statistic for the hypothesis that the difference is `delta`; falls as `delta` rises."""
    excess = lost - gained - pairs * delta
    a = 2 * pairs
    b = -lost - gained + (2 * pairs - lost + gained) * delta
    c = -gained * delta * (1 - delta)
    share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = pairs * (2 * share + delta * (1 - delta))
    if variance <= 0:
        return math.copysign(math.inf, excess) if excess else 0.0
    return excess / math.sqrt(variance)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero between `low` and `high`; the end it stays beyond otherwise."""
    if high - low < 1e-12 or function(low) <= 0:
        return low
    if function(high) >= 0:
        return high
    return float(brentq(lambda x: max(-1e6, min(1e6, function(x))), low, high, xtol=1e-10))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _z(confidence: float) -> float:
    return float(norm.ppf((1 + confidence) / 2))
