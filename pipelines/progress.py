"""Progress bars on standard error, for work that takes longer than two seconds."""

from collections.abc import Iterable, Iterator
from threading import Timer
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

DELAY = 2.0
"""Seconds before the first bar appears."""

T = TypeVar("T")


class Bars:
    """A context in which `track` shows bars; they vanish at its end, and in pipes nothing is shown.

    with Bars() as bars:
        for path in bars.track(paths, "reading", len(paths)):
            ...
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._start = Timer(DELAY, self._progress.start)
        self._start.daemon = True

    def __enter__(self) -> "Bars":
        self._start.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._start.cancel()
        self._start.join()
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
