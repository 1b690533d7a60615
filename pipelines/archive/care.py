"""Keeping an archive quick to open and read: many small files become few, and what no version needs is deleted."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from deltalake import DeltaTable

from inspect_compress.errors import ArchiveError
from pipelines.archive import departures, verdicts
from pipelines.archive.place import WRITER, OvertakenError, table_at, table_errors

FILE_BYTES = 128 * 2**20
"""Size that files are put together to: two of them fit into memory at once."""
COMMIT_EVERY = timedelta(minutes=1)
"""Compaction of a large archive is committed so often: what was done stays if it is stopped."""


@dataclass(frozen=True)
class Compacted:
    """Files of the archive before and after, and how many were deleted as no longer needed."""

    files_before: int
    files_after: int
    deleted: int

    def to_dict(self) -> dict[str, Any]:
        """The result as it is printed by `--json`."""
        return asdict(self)


def compact(uri: str, *, keep_hours: int) -> Compacted:
    """Put small files together, and delete those that no version of the last `keep_hours` names.

    Rows stay as they are. Readers and writers may be at work; a reader of an older version fails. Raises ArchiveError
    where another writer changes the same files at this moment, or the archive cannot be read.
    """
    before = after = deleted = 0
    try:
        for table in _tables(uri):
            with table_errors(uri):
                before += len(table.file_uris())
                table.optimize.compact(
                    target_size=FILE_BYTES,
                    max_concurrent_tasks=1,
                    min_commit_interval=COMMIT_EVERY,
                    writer_properties=WRITER,
                )
                after += len(table.file_uris())
                table.create_checkpoint()
                table.cleanup_metadata()
                deleted += len(table.vacuum(keep_hours, dry_run=False, enforce_retention_duration=False, full=True))
    except OvertakenError as error:
        raise ArchiveError(f"{uri}: another writer changed the same files; run again") from error
    return Compacted(before, after, deleted)


def _tables(uri: str) -> Iterator[DeltaTable]:
    """The archive's own table, and those beside it that there are."""
    with table_errors(uri):
        yield DeltaTable(uri)
        for folder in (verdicts.FOLDER, departures.FOLDER):
            if beside := table_at(f"{uri.rstrip('/')}/{folder}"):
                yield beside
