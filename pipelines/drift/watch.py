"""Watches one figure of a line: whether its values, window by window, are still distributed as they were.

The test is Kolmogorov's and Smirnov's for two samples: it needs no assumption about the distribution, and sees a
shift, a spread and a second hump alike. Where the values come from is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from scipy.stats import ks_2samp


@dataclass(frozen=True)
class Departure:
    """A window that is not like the baseline: both medians, and the chance of such a window without a change."""

    median: float
    expected: float
    frames: int
    baseline: int
    chance: float


class Watch:
    """Takes values one by one, and compares each full window with the baseline.

    A baseline shorter than `learn` is filled first. A departure is told once, and again only after a window that
    looked like the baseline. `level` is the chance of one where nothing changed and the values are independent.
    """

    def __init__(
        self,
        *,
        learn: int,
        size: int,
        level: float,
        baseline: Sequence[float] = (),
        window: Sequence[float] = (),
        departed: bool = False,
    ) -> None:
        self.baseline, self.window, self.departed = list(baseline), list(window), departed
        self._learn, self._size, self._level = learn, size, level

    def put(self, value: float) -> Departure | None:
        """Take a value. Returns a departure with the value that completes the window that shows it."""
        if len(self.baseline) < self._learn:
            self.baseline.append(value)
            return None
        self.window.append(value)
        if len(self.window) < self._size:
            return None
        window, self.window = self.window, []
        chance = float(ks_2samp(window, self.baseline).pvalue)
        told, self.departed = self.departed, chance <= self._level
        if told or not self.departed:
            return None
        return Departure(median(window), median(self.baseline), len(window), len(self.baseline), chance)
