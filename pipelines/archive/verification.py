"""Checking a whole archive: each file, each row, and that no row is there twice.

What makes a row sound is said in `verify`. A damaged file is named and the others are checked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_compress.errors import ArchiveError
from pipelines.archive.schema import FrameKey, key_of
from pipelines.archive.snapshot import Slice, Snapshot
from pipelines.archive.verify import check_row
from pipelines.engines import Engine
from pipelines.governance.encryption import keys_at_hand
from pipelines.progress import Track, untracked


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


def verify_archive(uri: str, engine: Engine, *, keys: Path | None = None, track: Track = untracked) -> Verification:
    """Check every row of the latest commit, on any engine. `keys`: a key file, for payloads that are encrypted.

    Raises ArchiveError where there is no archive, EngineError where the work cannot be done.
    """
    snapshot = Snapshot(uri)
    slices = snapshot.slices()
    answers = engine.map(CheckRows(snapshot.uri, snapshot.version, keys), slices)
    damaged: dict[str, DamagedFile] = {}
    unsound: list[Unsound] = []
    seen: set[FrameKey] = set()
    count = 0
    for checked in track(answers, "checking", len(slices)):
        for key, reason in checked.rows:
            count += 1
            if key in seen:
                unsound.append(Unsound(key, "it is stored twice"))
            seen.add(key)
            if reason:
                unsound.append(Unsound(key, reason))
        if checked.damage:  # each slice of a damaged file says so
            damaged.setdefault(checked.damage.path, checked.damage)
    return Verification(uri, count, tuple(unsound), tuple(damaged.values()))


@dataclass(frozen=True)
class Checked:
    """What a worker found in a slice: each row's key, and the reason where it is not sound; and the file's damage."""

    rows: tuple[tuple[FrameKey, str], ...]
    damage: DamagedFile | None


@dataclass(frozen=True)
class CheckRows:
    """The job: checks the rows of a slice. Keys are read where the work is done, and not sent there."""

    uri: str
    version: int
    keys: Path | None

    def start(self) -> Callable[[Slice], Checked]:
        """Open the archive and read the keys."""
        snapshot, keys = Snapshot(self.uri, self.version), keys_at_hand(self.keys)

        def work(part: Slice) -> Checked:
            rows: list[tuple[FrameKey, str]] = []
            damage = None
            try:
                for row in snapshot.rows(part):
                    rows.append((key_of(row), check_row(row, keys)))
            except ArchiveError as error:
                damage = DamagedFile(part.file, str(error))
            return Checked(tuple(rows), damage)

        return work
