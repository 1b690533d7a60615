"""The engine `ray`: the same work on Ray Data, an actor per core, on this machine or on a cluster.

With `RAY_ADDRESS` in the environment, as Ray itself has it, work goes to that cluster; its machines need this
package, and the same paths to what the work reads. Otherwise Ray is started here for the work, and ended with it.
"""

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspect_compress.errors import EngineError
from pipelines.engines.engine import AnswerT, ItemT, Job
from pipelines.engines.worker import Worker, cores

STORE_BYTES = 512 * 2**20
"""Of memory for what travels between Ray's processes, where it is started here; what is over goes to disk."""
LONGEST_FOLDER = 30
"""Characters of the temporary folder: Ray puts sockets below it, whose paths the system limits to about 100."""
STARTS = 10
"""How often in a row a worker may be killed before it has begun; one that is at work is started again without end."""
ADDRESS, AUTHENTICATION = "RAY_ADDRESS", "RAY_AUTH_MODE"


class RayEngine:
    """Does all items on Ray Data. A worker that is killed is started again, and its items are done once more.

    Raises EngineError where the extra `ray` is not installed.
    """

    def __init__(self) -> None:
        _keep_strangers_out()
        try:
            import ray.data  # noqa: F401
        except ImportError as error:
            raise EngineError(
                "the engine ray needs the extra `ray`: pip install 'inspect-compress[ray]'; or use --engine local"
            ) from error

    def map(self, job: Job[ItemT, AnswerT], items: Sequence[ItemT]) -> Generator[AnswerT, None, None]:
        """See `Engine.map`."""
        if not items:
            return
        with _session() as workers:
            yield from _mapped(job, items, min(workers, len(items)))


def _keep_strangers_out() -> None:
    """Have the Ray that is started here work for this process only: it listens on every network of the machine.

    Ray looks at these variables once, when it is imported; a cluster has its own.
    """
    if "ray" not in sys.modules and not {ADDRESS, AUTHENTICATION} & set(os.environ):
        os.environ |= {AUTHENTICATION: "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _mapped(job: Job[Any, Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    import ray.data
    from ray.exceptions import RayError

    class Actor:
        """Holds the job's model; one of them in each worker."""

        def __init__(self) -> None:
            self._worker = Worker(job)

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            return {"answer": [self._worker(item) for item in batch["item"]]}

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.max_consecutive_actor_init_deaths = STARTS
    context.memory_usage_poll_interval_s = None  # else each worker takes stock of its memory every second
    answers = ray.data.from_items(list(items), override_num_blocks=len(items)).map_batches(
        Actor, batch_size=1, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=workers)
    )
    try:
        for row in answers.iter_rows():
            yield row["answer"].unwrap()
    except RayError as error:
        raise EngineError(f"Ray gave up: {str(error).splitlines()[-1]}; run again, or use --engine local") from error


@contextmanager
def _session() -> Iterator[int]:
    """A connection to Ray, and the cores that it has. One that is there already is left as it is."""
    import ray

    if ray.is_initialized():
        yield int(ray.cluster_resources()["CPU"])
        return
    with tempfile.TemporaryDirectory(prefix="ray-", dir=_short_folder(), ignore_cleanup_errors=True) as folder:
        try:
            _connect(folder)
            yield int(ray.cluster_resources()["CPU"])
        finally:
            ray.shutdown()


def _connect(folder: str) -> None:
    import ray
    import ray._private.worker

    ray._private.worker._worker_logs_enabled = (
        False  # a killed worker would be told on standard output, which is ours
    )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters is raised as well
    os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers have to wait for all other programs
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    here: dict[str, Any] = {
        "address": "local",
        "num_cpus": cores(),
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "_temp_dir": folder,
    }
    try:
        with _nothing_on_standard_error():  # Ray's own libraries tell there that they will tell nothing
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if os.environ.get(ADDRESS) else here))
    except (ConnectionError, RuntimeError) as error:
        raise EngineError(f"Ray cannot be started: {str(error).splitlines()[0]}; use --engine local") from error


@contextmanager
def _nothing_on_standard_error() -> Iterator[None]:
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _short_folder() -> Path | None:
    """The system's temporary folder, unless its path is too long for Ray."""
    return None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else Path("/tmp")  # noqa: S108 - Ray makes a folder of its own in it
