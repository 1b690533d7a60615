"""Trying again what fails because a disk is full or a store is away. What can never succeed is not tried again."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from inspect_compress.errors import ArchiveError, InspectCompressError, LedgerError, SpoolError
from pipelines.archive.place import is_damage
from pipelines.flow.events import Alarm, Events

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two attempts; each pause is twice the one before."""

T = TypeVar("T")


class Insisting:
    """Does something again and again until it succeeds, for `seconds` at most (None: for ever), or `stop` is set.

    The first failure is told as an alarm; that of the last attempt is raised.
    """

    def __init__(self, seconds: float | None, stop: threading.Event, tell: Events) -> None:
        self._seconds, self._stop, self._tell = seconds, stop, tell

    def __call__(self, action: Callable[[], T]) -> T:
        """Return what `action` returns in the end."""
        begun, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return action()
            except (ArchiveError, LedgerError, SpoolError) as error:
                lasted = time.monotonic() - begun
                if (
                    self._stop.is_set()
                    or not passes(error)
                    or (self._seconds is not None and lasted >= self._seconds)
                ):
                    raise
                if pause == FIRST_PAUSE:
                    self._tell(Alarm(_kind(error), f"{error}; it is tried again", 1, 0))
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def passes(error: InspectCompressError) -> bool:
    """Whether it may be otherwise in a while: a full disk or an unreachable store may, a damaged file may not."""
    return not (isinstance(error, ArchiveError) and is_damage(error))


def _kind(error: InspectCompressError) -> str:
    return {SpoolError: "spool", LedgerError: "ledger"}.get(type(error), "archive")
