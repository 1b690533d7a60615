"""Checking a whole archive: each file, each row, and that no row is there twice.

What makes a row sound is said in `verify`. A damaged file is named and the others are checked.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import cpu_count
from typing import Any

from inspect_compress.errors import ArchiveError
from pipelines.archive.keys import Keys
from pipelines.archive.schema import SCHEMA, FrameKey, Row, key_of
from pipelines.archive.table import Archive
from pipelines.archive.verify import check_row

MAX_WORKERS = 4
"""Most rows that are decoded at once; more would hold too many large frames in memory."""


@dataclass(frozen=True)
class Unsound:
    """A row that is not as it was stored, and why."""

    key: FrameKey
    reason: str


@dataclass(frozen=True)
class DamagedFile:
    """A Parquet file of the archive that cannot be read to its end, by its path in the archive, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """What was checked: all rows of the files that could be read."""

    uri: str
    rows: int
    unsound: tuple[Unsound, ...]
    damaged_files: tuple[DamagedFile, ...]

    @property
    def is_sound(self) -> bool:
        """Whether every row is as it was stored."""
        return not self.unsound and not self.damaged_files

    def to_dict(self) -> dict[str, Any]:
        """The result as it is printed by `--json`."""
        return {
            "archive": self.uri,
            "sound": self.is_sound,
            "rows": self.rows,
            "unsound": [unsound.key._asdict() | {"reason": unsound.reason} for unsound in self.unsound],
            "damaged_files": [{"file": file.path, "reason": file.reason} for file in self.damaged_files],
        }


CheckRows = Callable[[Iterable[Row]], Iterator[tuple[FrameKey, str]]]
"""Checks rows; gives each one's key, and the reason where it is not sound."""


def verify_archive(archive: Archive, check_rows: CheckRows) -> Verification:
    """Check every row of the latest commit by `check_rows`."""
    damaged: list[DamagedFile] = []
    unsound: list[Unsound] = []
    seen: set[FrameKey] = set()

    def on_damaged_file(path: str, error: ArchiveError) -> None:
        damaged.append(DamagedFile(path, str(error)))

    count = 0
    batches = archive.scan(columns=SCHEMA.names, on_damaged_file=on_damaged_file)
    for key, reason in check_rows(row for batch in batches for row in batch.to_pylist()):
        count += 1
        if key in seen:
            unsound.append(Unsound(key, "it is stored twice"))
        seen.add(key)
        if reason:
            unsound.append(Unsound(key, reason))
    return Verification(archive.uri, count, tuple(unsound), tuple(damaged))


def check_in_threads(keys: Keys | None) -> CheckRows:
    """Rows are checked on several cores, in their order."""

    def check(row: Row) -> tuple[FrameKey, str]:
        return key_of(row), check_row(row, keys)

    def check_rows(rows: Iterable[Row]) -> Iterator[tuple[FrameKey, str]]:
        workers = min(cpu_count() or 1, MAX_WORKERS)
        waiting = iter(rows)
        with ThreadPoolExecutor(workers) as pool:
            running = deque(pool.submit(check, row) for row in islice(waiting, workers + 1))
            while running:
                result = running.popleft().result()
                running.extend(pool.submit(check, row) for row in islice(waiting, 1))
                yield result

    return check_rows
