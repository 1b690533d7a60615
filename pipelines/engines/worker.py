"""What happens in a worker process, the same in every engine: set up once, then an answer or an error per item."""

import os
from dataclasses import dataclass
from typing import Any

from inspect_compress.errors import EngineError, InspectCompressError
from pipelines.engines.engine import Job

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A worker's environment: there is a worker for each core, so that its libraries need no threads of their own."""


@dataclass(frozen=True)
class Answer:
    """What a job said of an item, or why it said nothing: `error` is one line, and empty where all is well.

    Errors travel as text: an exception of a class of its own could not always be built again elsewhere.
    """

    value: Any = None
    error: str = ""

    def unwrap(self) -> Any:
        """The value. Raises EngineError where there is none."""
        if self.error:
            raise EngineError(self.error)
        return self.value


class Worker:
    """Does a job, which is set up with the first item. An item never ends it."""

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job = job
        self._do: Any = None

    def __call__(self, item: Any) -> Answer:
        """The answer for one item."""
        try:
            if self._do is None:
                self._do = self._job.start()
            return Answer(self._do(item))
        except InspectCompressError as error:
            return Answer(error=str(error))
        except Exception as error:  # a codec or detector of another package may raise anything
            words = " ".join(str(error).split())
            return Answer(error=f"a worker failed: {type(error).__name__}: {words}")


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
