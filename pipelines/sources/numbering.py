"""Numbers for the frames of a stream that gives time stamps only, so that lost frames show as jumps."""

MAX_AHEAD = 5.0
"""Seconds by which a stream's time may run ahead of ours: what a server sends at once at the start, and more. A jump
beyond it is a clock that was set, not frames that were lost."""


class Numbering:
    """Counts frames by the time between them. All times are in seconds."""

    def __init__(self) -> None:
        self._rate: float | None = None
        self._number = 0
        self._steps_between = 1
        self._connected = 0.0
        self._began: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def connected(self, rate: float | None, began: float) -> None:
        """A connection that began at `began`, whose time stamps begin anew. `rate`: frames per second, if known.

        What a server sent since is not lost, even if it is seen later: connecting takes seconds.
        """
        self._rate = rate
        self._connected = began
        self._steps_between = self._steps(began - self._last[1], unknown=2) if self._number else 1
        self._began = None

    def next(self, position: float, now: float) -> int:
        """The number of the frame at `position` in the stream, which came at `now`.

        Within a connection, its time stamps tell how many frames were lost; between two, the time that passed
        does. Without a rate, no frame counts as lost within a connection, and one between two.
        """
        if self._began is None:
            steps = self._steps_between
            self._began = position, self._connected
        else:
            steps = self._steps(position - self._last[0], unknown=1)
            ahead = (position - self._began[0]) - (now - self._began[1])
            if ahead > MAX_AHEAD:
                steps, self._began = 1, (position, now)
        self._last = position, now
        self._number += steps
        return self._number

    def _steps(self, seconds: float, *, unknown: int) -> int:
        return max(1, round(seconds * self._rate)) if self._rate else unknown
