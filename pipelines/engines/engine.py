"""What an engine is, and how one is chosen by name. The engines themselves are in modules of their own."""

from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")
ItemC = TypeVar("ItemC", contravariant=True)
AnswerC = TypeVar("AnswerC", covariant=True)


class Job(Protocol[ItemC, AnswerC]):
    """Work that can be sent to another process: a frozen dataclass, with the settings of the work as its fields."""

    def start(self) -> Callable[[ItemC], AnswerC]:
        """Load what the work needs, once in each worker, and return the function that does it.

        The function gives the same answer for the same item whenever it is asked, and changes nothing: an item
        whose worker died is given to another. It may raise an InspectCompressError.
        """
        ...


class Engine(Protocol):
    """Runs a job over items, several at a time."""

    def map(self, job: Job[ItemT, AnswerT], items: Sequence[ItemT]) -> Generator[AnswerT, None, None]:
        """Each item's answer, in the items' order; work goes a few items ahead of the one that is asked for.

        Raises EngineError with the reason that a worker gave, or where the workers cannot be started. Work ends
        when the iterator does, or is closed.
        """
        ...


class EngineName(StrEnum):
    """The engines, as the command line knows them."""

    local = "local"
    ray = "ray"


def load_engine(name: EngineName) -> Engine:
    """The engine of that name. Raises EngineError where its packages are not installed."""
    if name == EngineName.ray:
        from pipelines.engines.ray_engine import RayEngine

        return RayEngine()
    from pipelines.engines.local_engine import LocalEngine

    return LocalEngine()
