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


class BlockNumbers:
    """Numbers from 1 for frames that a camera numbers itself, by 16 or 64 bits, from 0 or 1, again and again."""

    def __init__(self) -> None:
        self._number = 0
        self._block: int | None = None
        self._again = False

    def connected(self) -> None:
        """A connection begins, and the camera's count with it. Between two, one frame counts as lost."""
        self._again = self._number > 0
        self._block = None

    def next(self, block: int) -> int:
        """The number of the frame that the camera calls `block`."""
        first = 2 if self._again else 1
        self._number += first if self._block is None else _steps(self._block, block)
        self._block = block
        return self._number


_LAST_OF_16_BITS = 65535
_MAX_AROUND = 4096
"""Frames that may be lost where the count wraps. A larger step back is a count that began anew."""


def _steps(before: int, now: int) -> int:
    """From one count of a camera to the next."""
    if now > before:
        return now - before
    # GigE Vision 1 counts to 65535 and goes on with 1: 0 is no frame there.
    around = now + _LAST_OF_16_BITS - before
    return around if 0 < around <= _MAX_AROUND and before <= _LAST_OF_16_BITS else 1
