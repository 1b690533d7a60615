"""A line in a process of its own that can be killed, and what it told before it was.

Processes are forked from one that has imported everything, so that a hundred of them cost seconds.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.archive import Archive, check_row
from pipelines.config import read_config
from pipelines.flow.events import Captured, Event, Stored
from pipelines.frame import Frame
from pipelines.governance.settings import key_ring
from pipelines.runner import LineResult, run_line
from pipelines.sources import IteratorSource

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pipelines.runner", "inspect_compress.classical", "tests.pipelines.line_process"])


def picture(number: int) -> np.ndarray:
    """A small picture, another one for each number."""
    return np.random.default_rng(number).integers(0, 256, (12, 16), dtype=np.uint8)


def camera(pause: float = 0.0) -> Iterator[Frame]:
    """Frames that come once and are gone, numbered from 1, without an end."""
    origin = f"{os.getpid()}-{time.monotonic_ns()}"
    for number in count(1):
        yield Frame(picture(number), f"{origin}-{number}", datetime.now(UTC), sequence=number, line="L1")
        time.sleep(pause)


class Notes:
    """Notes captured and stored frames in files that survive the process, each note in one write."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._files = {
            kind: os.open(folder / kind.__name__, os.O_CREAT | os.O_APPEND | os.O_WRONLY) for kind in KINDS
        }

    def __call__(self, event: Event) -> None:
        if isinstance(event, KINDS):
            os.write(self._files[type(event)], f"{event.frame_id}\n".encode())


KINDS = (Captured, Stored)


def noted(folder: Path, kind: type) -> set[str]:
    """The ids of the frames that were told to be of a kind."""
    file = folder / kind.__name__
    return set(file.read_text().splitlines()) if file.exists() else set()


def falls_silent(frames: Iterator[Frame], after: int) -> Iterator[Frame]:
    """The first frames of a camera that then sends no more, and does not end."""
    yield from islice(frames, after)
    time.sleep(3600)


def run_silent(config: Path, notes: Path) -> None:
    """A line's process: a camera that falls silent after 20 frames."""
    run_line(read_config(config), source=IteratorSource(falls_silent(camera(), 20)), observers=[Notes(notes)])


def run_here(config: Path, notes: Path, from_camera: bool) -> None:
    """A line's process: its folder, or a camera that never ends."""
    source: Any = IteratorSource(camera(0.001)) if from_camera else None
    run_line(read_config(config), source=source, observers=[Notes(notes)])


def killed_at(config: Path, notes: Path, seconds: float, *, from_camera: bool) -> None:
    """Start a line, and kill it so many seconds after it has captured its first frame, if it is still there."""
    before = _size(notes / "Captured")
    process = FORKS.Process(target=run_here, args=(config, notes, from_camera), daemon=True)
    process.start()
    while process.is_alive() and _size(notes / "Captured") == before:
        time.sleep(0.001)
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    process.close()


def completed(config: Path, source: Any = None) -> LineResult:
    """Run a line to its end, in this process; without a source of its own, over what is left."""
    return run_line(read_config(config), source=source)


def rows(config: Path) -> list[str]:
    """The ids of the archive's rows, each of which is sound."""
    settings = read_config(config)
    keys, ids = key_ring(settings.encryption), []
    for batch in Archive(settings.archive.uri, create=False).scan():
        for row in batch.to_pylist():
            assert check_row(row, keys) == ""
            ids.append(row["frame_id"])
    return ids


def stopped_after(seconds: float) -> threading.Event:
    """An event that is set in so many seconds."""
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    return stop


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
