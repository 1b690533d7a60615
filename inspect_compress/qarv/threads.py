"""Work side by side on threads, with arithmetic that does not depend on how many there are.

Float sums depend on how torch splits them among its threads, so the network always runs on one torch thread. What
is split instead is the picture: into strips of rows whose sizes depend on its own size alone.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

_THREADS = torch.get_num_threads()
_lock = threading.Lock()
_inside = 0
_before = 1
_worker = threading.local()

In = TypeVar("In")
Out = TypeVar("Out")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside the block; the count of before returns when the last block is left."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                torch.set_num_threads(_before)


def threads_here() -> int:
    """How many threads may share one piece of work: as many as torch had at the start, or one, on such a thread."""
    return 1 if getattr(_worker, "busy", False) else _THREADS


def side_by_side(function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
    """The results of `function` for all items, in their order; on as many threads as torch had at the start.

    Called from within such a thread, it works on that thread alone.
    """
    items = list(items)
    if len(items) < 2 or threads_here() == 1:
        return [function(item) for item in items]
    inference = torch.is_inference_mode_enabled()

    def work(item: In) -> Out:
        with torch.inference_mode(inference):
            return function(item)

    return list(_pool().map(work, items))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="qarv", initializer=_start_worker)


def _start_worker() -> None:
    _worker.busy = True
    torch.set_num_threads(1)


os.register_at_fork(after_in_child=_pool.cache_clear)
