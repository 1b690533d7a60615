"""Progress bars for work of unknown length: they appear only where it takes longer than two seconds."""

from collections.abc import Iterable, Iterator
from threading import Timer
from typing import TypeVar

from inspect_compress.progress import progress

DELAY = 2.0
"""Seconds before the first bar appears."""

T = TypeVar("T")


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
