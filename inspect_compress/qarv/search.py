"""Finds the step of λ where something that grows with λ first passes a limit, in as few attempts as can be.

A guessed curve gives the first attempt; each attempt corrects the curve by what was measured, between attempts
linearly. So two or three attempts are within a step of the goal.
"""

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]

_SMOOTH = 5
"""Attempts that a curve without steps takes at most, but for those next to the limit."""


class Search:
    """Measured values at indexes of λ, and what they and a guess say of the others.

    `below` is the highest index known to be under the limit, -1 before there is one; `above` the lowest known to be
    at or over it, the number of indexes before there is one. They are neighbours when the search is over.
    """

    def __init__(self, guess: Curve, limit: float) -> None:
        self._guess = guess
        self._limit = limit
        self._seen: dict[int, float] = {}
        self.below, self.above = -1, len(guess)

    @property
    def over(self) -> bool:
        return self.above - self.below <= 1

    def add(self, index: int, value: float) -> None:
        """What was measured at an index. Values of -inf and inf are taken as far below or above."""
        self._seen[index] = float(np.clip(value, self._limit - 50, self._limit + 50))
        if value < self._limit:
            self.below = max(self.below, index)
        else:
            self.above = min(self.above, index)

    def next(self, aim: float) -> int:
        """The index to try: the first that is expected to reach `aim`, of those that are still open.

        Where some attempts have not closed in on it, the curve has a step (as where difference planes of colour
        become whole): then it lies at least a quarter of what is open from either end.
        """
        first = int(np.searchsorted(np.maximum.accumulate(self._expected()), aim))
        spare = (self.above - self.below) // 4 if len(self._seen) >= _SMOOTH and self.below >= 0 else 1
        return min(max(first, self.below + max(spare, 1)), self.above - max(spare, 1))

    def _expected(self) -> Curve:
        if not self._seen:
            return self._guess
        indexes = np.array(sorted(self._seen))
        errors = np.array([self._seen[index] for index in indexes]) - self._guess[indexes]
        every = np.arange(len(self._guess))
        correction = np.interp(every, indexes, errors)
        if len(indexes) > 1:
            for end, near in ((0, 1), (-1, -2)):
                slope = (errors[end] - errors[near]) / (indexes[end] - indexes[near])
                beyond = every < indexes[0] if end == 0 else every > indexes[-1]
                correction[beyond] += self._gentle(slope) * (every[beyond] - indexes[end])
        return self._guess + correction

    def _gentle(self, slope: float) -> float:
        """At most half the guess's own: beyond what was measured it is trusted more than two noisy values."""
        most = 0.5 * (self._guess[-1] - self._guess[0]) / len(self._guess)
        return float(np.clip(slope, -most, most))
