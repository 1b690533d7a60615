"""Where a table lies: opening it, refusing a place that is unfit, and errors that name the place and the file."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
from deltalake import ColumnProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from inspect_compress.errors import ArchiveError

COMMIT_RESERVE = 2**20
"""Bytes that must be free beside the payloads of a commit: for its metadata, log and checkpoint."""
UNUSABLE = frozenset("[]^|%\\\t\n")
"""Characters in a local path with which deltalake 1.6 fails, or writes to another folder."""
DISK_FULL = "the disk is full; nothing of this batch was stored; free some space and run again"
LOG_KEPT = "interval 7 days"
"""How long commits stay in the log once a checkpoint holds what they say: a line makes some ten thousand a day."""
GROUP_ROWS = 64
"""Rows in one row group: the least that a reader has to fetch for one frame."""
WRITER = WriterProperties(
    compression="UNCOMPRESSED",  # payloads are compressed already
    max_row_group_size=GROUP_ROWS,
    column_properties={"payload": ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")},
)

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class OvertakenError(Exception):
    """Another writer committed first."""


def open_table(uri: str, *, schema: pa.Schema, partitions: Sequence[str], name: str, create: bool) -> DeltaTable:
    """The table at `uri`, made where there is none and `create` is true. Raises ArchiveError for an unfit place."""
    _refuse_unfit_place(uri)
    try:
        return DeltaTable(uri)
    except TableNotFoundError as error:
        if not create:
            raise ArchiveError(f"{uri}: there is no archive here") from error
    with suppress(CommitFailedError):  # another process created it in this moment
        DeltaTable.create(
            uri,
            schema=schema,
            partition_by=list(partitions),
            mode="ignore",
            name=name,
            configuration={"delta.logRetentionDuration": LOG_KEPT},
        )
    return DeltaTable(uri)


def table_at(uri: str) -> DeltaTable | None:
    """The table at `uri`; None where there is none. Other threads go on, as they do not by `is_deltatable`."""
    try:
        return DeltaTable(uri)
    except TableNotFoundError:
        return None


@contextmanager
def table_errors(uri: str, file: str = "") -> Iterator[None]:
    """Turn what the libraries raise into an ArchiveError that names the table, and the file.

    Raises OvertakenError where another writer committed first.
    """
    try:
        yield
    except CommitFailedError as error:
        raise OvertakenError from error
    except (DeltaError, OSError, pa.ArrowException) as error:
        where = f"{uri}, file {file}" if file else uri
        raise ArchiveError(f"{where}: {_reason(error)}") from error


def is_damage(error: ArchiveError) -> bool:
    """Whether a file of a table is missing or not what was written, which no waiting mends."""
    cause = error.__cause__
    return isinstance(cause, pa.ArrowInvalid | FileNotFoundError) or "thrift" in str(cause)


def commit(table: DeltaTable, rows: pa.Table, **how: Any) -> set[str]:
    """Write rows in one commit, as `write_deltalake` says; return the new files, as `files_of` names them.

    When this returns, a commit to a local disk survives a power cut: the library leaves it to the system when its
    files reach the disk.
    """
    before = files_of(table)
    write_deltalake(table, rows, **how)
    new = files_of(table) - before
    if table.table_uri.startswith("file://") and os.name == "posix":
        _sync(table, new)
    return new


def files_of(table: DeltaTable) -> set[str]:
    """The table's files by their paths in its folder: one folder for each partition column, and the name."""
    depth = len(table.metadata().partition_columns)
    return {"/".join(uri.rsplit("/", depth + 1)[1:]) for uri in table.file_uris()}


def refuse_full_disk(uri: str, payload_bytes: int) -> None:
    """Raise ArchiveError where a local disk has no room: a write that fails midway leaves files behind."""
    if "://" in uri:
        return
    free = shutil.disk_usage(uri).free
    if free < payload_bytes + COMMIT_RESERVE:
        raise ArchiveError(f"{uri}: {DISK_FULL}")


def _sync(table: DeltaTable, files: Iterable[str]) -> None:
    """Have the files of the latest commit, the folders that name them, and then its entry in the log on the disk."""
    folder = Path(unquote(urlparse(table.table_uri).path))
    paths = [folder / file for file in files]
    folders = {parent for path in paths for parent in path.parents if parent.is_relative_to(folder)}
    log = folder / "_delta_log"
    for path in [*paths, *folders, log / f"{table.version():020}.json", log]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refuse_unfit_place(uri: str) -> None:
    """Raise ArchiveError where a local `uri` is a file, holds other things, or has an unusable name.

    What lies beside the table, such as its audit log, begins with `_` and may be there before it.
    """
    if "://" in uri:
        return
    path = Path(uri)
    if unusable := sorted(UNUSABLE & set(path.absolute().as_posix())):
        raise ArchiveError(f"{uri}: Delta Lake cannot use a path with {' '.join(unusable)}; name another folder")
    if path.exists() and not path.is_dir():
        raise ArchiveError(f"{uri}: is a file, not an archive; name a folder")
    if (path / "_delta_log").is_dir() or not path.is_dir():
        return
    if any(not entry.name.startswith("_") for entry in path.iterdir()):
        raise ArchiveError(f"{uri}: is not an archive but holds other files; name an empty or a new folder")


def _reason(error: Exception) -> str:
    """One line of what a library's error of many lines says."""
    text = _ANSI_COLOUR.sub("", str(error)).split("\n   0: ")[0]
    if "No space left on device" in text:
        return DISK_FULL
    lines = [line.strip(" ↳") for line in text.splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__
