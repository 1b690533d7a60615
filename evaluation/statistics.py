"""Intervals and tests for proportions and paired differences of proportions. Knows nothing of codecs or frames.

Intervals are two-sided, 95 % by default. Frames count as independent of each other, unless a `Design` says how
much less they tell because they came in groups (lots, panels); `evaluation.grouping` measures that.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr, stdtrit

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value and the limits of its confidence interval; all NaN where nothing was observed."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


class Design(NamedTuple):
    """What groups cost: `effect` frames tell as much as one independent one; `groups` is how many there are.

    Counts are divided by the effect, and by `(t / z)^2` for how uncertain few groups leave it.

    J. N. K. Rao and A. J. Scott, Biometrics 48 (1992) 577; degrees of freedom: E. L. Korn and B. I. Graubard,
    Surv. Methodol. 24 (1998) 193.
    """

    effect: float = 1.0
    groups: float = math.inf

    def weight(self, confidence: float) -> float:
        """What one frame counts in an interval of this confidence; 1 where frames are independent."""
        if math.isinf(self.groups):
            return 1 / self.effect
        return (_z(confidence) / float(stdtrit(self.groups - 1, (1 + confidence) / 2))) ** 2 / self.effect

    def grown(self, factor: float) -> "Design":
        """The same with more groups of the same kind."""
        return Design(self.effect, self.groups * factor)


INDEPENDENT = Design()
MIN_GROUPS = 2
"""Fewest groups whose differences say anything."""


def proportion(
    successes: float, total: float, confidence: float = CONFIDENCE, design: Design = INDEPENDENT
) -> Estimate:
    """`successes / total` with Wilson's score interval.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; recommended by R. G. Newcombe, Stat. Med. 17 (1998) 857.
    """
    if total == 0:
        return UNKNOWN
    z2 = _z(confidence) ** 2
    share = successes / total
    n = total * design.weight(confidence)
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Estimate(share, low, high)


def paired_difference(
    lost: float, gained: float, pairs: float, confidence: float = CONFIDENCE, design: Design = INDEPENDENT
) -> Estimate:
    """`(lost - gained) / pairs` with Tango's score interval for paired proportions.

    `lost` counts the pairs positive the first time only, `gained` those positive the second time only, so
    that a value above zero means that fewer were positive the second time. Counts may be fractional.

    T. Tango, Stat. Med. 17 (1998) 891.
    """
    if pairs == 0:
        return UNKNOWN
    z = _z(confidence)
    weight = design.weight(confidence)
    value = (lost - gained) / pairs
    counts = (lost * weight, gained * weight, pairs * weight)
    low = _root(lambda delta: _tango(*counts, delta) - z, -1.0, value)
    high = _root(lambda delta: _tango(*counts, delta) + z, value, 1.0)
    return Estimate(value, low, high)


def non_inferiority(lost: float, gained: float, pairs: float, margin: float, design: Design = INDEPENDENT) -> float:
    """One-sided p-value of the hypothesis that the difference is `margin` or more, by Tango's score test.

    Below alpha exactly where the upper limit of `paired_difference` at confidence `1 - 2 alpha` is below the
    margin. NaN without pairs.
    """
    if pairs == 0:
        return math.nan
    score = _tango(lost / design.effect, gained / design.effect, pairs / design.effect, margin)
    return float(ndtr(score) if math.isinf(design.groups) else stdtr(design.groups - 1, score))


def pairs_needed(
    lost: float,
    gained: float,
    pairs: float,
    margin: float,
    alpha: float = (1 - CONFIDENCE) / 2,
    design: Design = INDEPENDENT,
) -> int | None:
    """How many pairs would show at one-sided `alpha` that the difference is below `margin`, if it stays as observed.

    None where the difference observed is not below the margin: more of the same would not show it. Groups are
    taken to grow in number, not in size.
    """
    if pairs == 0 or (lost - gained) / pairs >= margin:
        return None

    def too_few(n: int) -> bool:
        factor = n / pairs
        if design.groups * factor <= MIN_GROUPS - 1:
            return True
        more = design.grown(factor)
        return non_inferiority(lost * factor, gained * factor, n, margin, more) >= alpha

    enough = max(1, math.ceil(pairs))
    while too_few(enough):
        enough *= 2
    few = 0
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if too_few(middle) else (few, middle)
    return enough


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


def _z(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))
