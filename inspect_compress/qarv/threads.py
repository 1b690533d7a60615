"""Keeping the arithmetic the same whatever thread counts a process was given.

Float sums depend on how they are split among threads. The network therefore always runs on one thread per
picture; several pictures can be coded side by side from several threads.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_before = 1


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
