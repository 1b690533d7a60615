"""The same work for many items on several threads, in their order. What the work is, the stages know."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from inspect_compress.errors import InspectCompressError

T = TypeVar("T")
R = TypeVar("R")


def in_threads(
    work: Callable[[T], R], items: Iterable[T], workers: int
) -> Iterator[tuple[T, R | InspectCompressError]]:
    """Each item with its result or its error, in order, as soon as it is there; `workers + 1` are in hand at most.

    Items are taken in a thread of their own, so that a result need not wait for the next item to come. What `items`
    raises is raised here.
    """
    results: SimpleQueue[Future | BaseException | None] = SimpleQueue()
    room = threading.Semaphore(workers + 1)
    closed = threading.Event()
    pool = ThreadPoolExecutor(workers)

    def guarded(item: T) -> tuple[T, R | InspectCompressError]:
        try:
            return item, work(item)
        except InspectCompressError as error:
            return item, error
        except Exception as error:  # of a plant's own package, or of a library: it costs this item, not the line
            return item, InspectCompressError(f"{type(error).__name__}: {' '.join(str(error).split())}")

    def feed() -> None:
        waiting = iter(items)
        try:
            while not closed.is_set():
                room.acquire()
                results.put(pool.submit(guarded, next(waiting)))
        except StopIteration:
            results.put(None)
        except BaseException as error:
            results.put(error)

    threading.Thread(target=feed, daemon=True).start()
    try:
        while (result := results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result.result()
            room.release()
    finally:
        closed.set()
        room.release()
        pool.shutdown(wait=False, cancel_futures=True)
