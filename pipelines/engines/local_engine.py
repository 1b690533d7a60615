"""The plain engine: a process per core on this machine. Threads would do half of it: they wait for Python's lock."""

import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from inspect_compress.errors import EngineError
from pipelines.engines.engine import AnswerT, ItemT, Job
from pipelines.engines.worker import ONE_THREAD, Answer, Worker, cores

ALONE_SECONDS = 2.0
"""How long items are done in this process before others are started, which takes about as long itself."""
AHEAD = 2
"""Items that are handed out for each worker before their turn to be asked for."""


class LocalEngine:
    """Does items in this process; where that takes longer than two seconds, the rest in a process per core."""

    def __init__(self, workers: int | None = None, *, alone_seconds: float = ALONE_SECONDS) -> None:
        self._workers = workers or cores()
        self._alone = alone_seconds

    def map(self, job: Job[ItemT, AnswerT], items: Sequence[ItemT]) -> Generator[AnswerT, None, None]:
        """See `Engine.map`."""
        done, spent = 0, 0.0
        worker = Worker(job)
        while done < len(items) and spent < self._alone:
            began = time.monotonic()
            answer = worker(items[done])
            spent += time.monotonic() - began
            done += 1
            yield answer.unwrap()
        if done < len(items):
            yield from self._in_processes(job, items[done:])

    def _in_processes(self, job: Job[Any, Any], items: Sequence[Any]) -> Iterator[Any]:
        waiting = iter(items)
        pool = ProcessPoolExecutor(
            min(self._workers, len(items)), get_context("spawn"), initializer=_set_up, initargs=(job,)
        )
        try:
            with _environment(ONE_THREAD):  # processes are started with the first items
                running = deque(pool.submit(_do, item) for item in islice(waiting, self._workers * AHEAD))
            while running:
                answer = running.popleft().result()
                running.extend(pool.submit(_do, item) for item in islice(waiting, 1))
                yield answer.unwrap()
        except BrokenProcessPool as error:
            raise EngineError(
                "a worker process was killed, perhaps for want of memory; what was done until then is kept: run again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_worker: Worker | None = None


def _set_up(job: Job[Any, Any]) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked, which ends its workers
    Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(job)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _do(item: Any) -> Answer:
    assert _worker
    return _worker(item)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The environment that processes inherit which are started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
