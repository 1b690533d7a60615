"""Progress bars for work of unknown length: they appear only where it takes longer than two seconds."""

from collections.abc import Iterable, Iterator
from threading import Timer
from typing import Protocol, TypeVar

from inspect_compress.progress import progress

DELAY = 2.0
"""Seconds before the first bar appears."""

T = TypeVar("T")


class Track(Protocol):
    """Shows how far an iterable has come; `total` is None where that is not known."""

    def __call__(self, items: Iterable[T], what: str, total: int | None) -> Iterable[T]:
        """Return `items`, watched."""
        ...


def untracked(items: Iterable[T], what: str, total: int | None) -> Iterable[T]:
    """Show nothing."""
    return items


class Bars:
    """A context in which `track` shows bars on standard error. In pipes nothing is shown.

    with Bars() as bars:
        for path in bars.track(paths, "reading", len(paths)):
            ...
    """

    def __init__(self) -> None:
        self._progress = progress(counted=True)
        self._start = Timer(DELAY, self._progress.start)
        self._start.daemon = True

    def __enter__(self) -> "Bars":
        if self._progress.console.is_terminal:
            self._start.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._start.cancel()
        if self._progress.live.is_started:
            self._progress.stop()

    def track(self, items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
        """Yield `items`, with a bar named `what` for as long as they last."""
        task = self._progress.add_task(what, total=total)
        try:
            for item in items:
                yield item
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)
