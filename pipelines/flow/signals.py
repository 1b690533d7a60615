"""SIGTERM and Ctrl+C as the wish that a run end in order, and soon. What a run does then is its own business."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LIMIT_SECONDS = 9.5
"""After this long a process that is asked to end does, whatever hangs; it loses nothing that a kill would keep."""


@contextmanager
def ended_by_signals(stop: threading.Event) -> Iterator[None]:
    """Have the first signal set `stop`; a second one, or `LIMIT_SECONDS`, end the process at once."""

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            _leave("asked to end twice")
        stop.set()
        timer = threading.Timer(
            LIMIT_SECONDS, _leave, [f"not done {LIMIT_SECONDS} seconds after it was asked to end"]
        )
        timer.daemon = True
        timer.start()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(why: str) -> None:
    sys.stderr.write(f"error: {why}: what was in hand is in the spool or the source; run again\n")
    sys.stderr.flush()
    os._exit(1)
