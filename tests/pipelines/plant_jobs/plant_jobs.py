"""Jobs that are sent to workers: one that works, and ones with a fault of their own."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inspect_compress.errors import ArchiveError, OutOfStepError


@dataclass(frozen=True)
class Square:
    """Squares numbers, and says in which process."""

    def start(self) -> Callable[[int], tuple[int, int]]:
        return lambda number: (number * number, os.getpid())


@dataclass(frozen=True)
class DiesOnce:
    """Squares numbers; the first process that is given `victim` is killed in the middle of it."""

    folder: Path
    victim: int

    def start(self) -> Callable[[int], int]:
        def work(number: int) -> int:
            marker = self.folder / "died"
            if number == self.victim and not marker.exists():
                marker.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return number * number

        return work


@dataclass(frozen=True)
class Fails:
    """Fails at number 3: with an error of the tree, with one that cannot be sent, or with anything else."""

    how: str

    def start(self) -> Callable[[int], int]:
        errors = {
            "archive": ArchiveError("frame 3: is damaged"),
            "step": OutOfStepError(),
            "any": ValueError("no\n3"),
        }

        def work(number: int) -> int:
            if number == 3:
                raise errors[self.how]
            return number

        return work
