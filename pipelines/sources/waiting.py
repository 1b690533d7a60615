"""Waiting for what may hang: a network share, a camera. It is told of once, and an end is possible all the time."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pipelines.sources.contract import OnStall, Stall

ASKED_EVERY = 0.05
"""Seconds between two looks at whether to end, while a call has not come back."""

T = TypeVar("T")


class StoppedError(Exception):
    """The source was asked to end while it waited. Does not leave this package."""


class Waiting:
    """Runs calls that may hang in a thread, one at a time, and tells once when nothing comes.

    A call that hangs is never made a second time beside the first; when the end is asked for, its thread is left
    to itself and ends with the process.
    """

    def __init__(self, *, seconds: float, on_stall: OnStall, stop: threading.Event | None) -> None:
        self._seconds = seconds
        self._on_stall = on_stall
        self._stop = stop or threading.Event()
        self._since: float | None = None
        self._told = False

    @property
    def stopped(self) -> bool:
        """Whether the end was asked for."""
        return self._stop.is_set()

    def call(self, work: Callable[[], T], what: str) -> T:
        """What `work` returns or raises. Raises StoppedError where the end was asked for."""
        job = _Job(work)
        began = time.monotonic()
        while not job.done.wait(ASKED_EVERY):
            self._end()
            if (seconds := time.monotonic() - began) >= self._seconds:
                self._tell(f"{what}: does not answer", seconds)
        self._end()
        return job.result()

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt, or until the end is asked for."""
        self._stop.wait(seconds)

    def failed(self, reason: str) -> None:
        """An attempt has failed. Tells once, until one has gone well."""
        self._since = self._since or time.monotonic()
        self._tell(reason, time.monotonic() - self._since)

    def well(self) -> None:
        """An attempt has gone well."""
        self._since, self._told = None, False

    def _end(self) -> None:
        if self.stopped:
            raise StoppedError

    def _tell(self, reason: str, seconds: float) -> None:
        if not self._told:
            self._told = True
            self._on_stall(Stall(reason, seconds))


class _Job(Generic[T]):
    """One call in a thread of its own, which does not keep the process from ending."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.done = threading.Event()
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> T:
        if self._error:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # raised where the call was made
            self._error = error
        finally:
            self.done.set()
