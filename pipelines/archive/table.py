"""The archive's table: append, read and rewrite its rows, beside other writers.

What a row holds is said in `schema`; what may be asked of an archive by people is in `commands`.
"""

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, write_deltalake

from inspect_compress.errors import ArchiveError
from pipelines.archive.keys import Keys, plain_payload, sealed
from pipelines.archive.place import (
    WRITER,
    OvertakenError,
    commit,
    files_of,
    is_damage,
    open_table,
    refuse_full_disk,
    table_errors,
)
from pipelines.archive.schema import (
    ADDED,
    ASKED,
    IDENTITY,
    PARTITIONS,
    SCHEMA,
    ArchivedFrame,
    FrameKey,
    Row,
    bytes_are_as_stored,
    frame_of,
    key_of,
    row_of,
)
from pipelines.archive.sql import is_among, is_value

TABLE_NAME = "inspect-compress archive"

COMMIT_FRAMES = 64
COMMIT_BYTES = 64 * 2**20
"""Most frames and payload bytes of one commit: what is held in memory, and lost from it in a crash."""
COMMIT_ATTEMPTS = 100
LONGEST_PAUSE = 0.1
"""How often a commit is tried again when other writers were first, and the seconds between two attempts."""
REWRITE_FRAMES = 2048
REWRITE_BYTES = 128 * 2**20
"""Most frames and payload bytes that one commit of a rewriting replaces."""
READ_ROWS = 32
"""Rows in one batch of a scan."""


Change = Callable[[ArchivedFrame], ArchivedFrame | None]
"""What becomes of a stored frame; None leaves it as it is."""
OnDamaged = Callable[[FrameKey, ArchiveError], None]
OnDamagedFile = Callable[[str, ArchiveError], None]
"""Is told of a file of the table that cannot be read, by its path in the archive's folder."""


class Archive:
    """A Delta Lake table of encoded frames, at a local folder or an object store's URI.

    Opens the archive, or creates it where nothing is there and `create` is true. Several processes may
    write to one archive at once. Raises ArchiveError where `uri` holds something else, or cannot be
    reached. Object stores take their credentials from the environment.

    With `keys`, payloads are encrypted before they are stored; those that are encrypted already are read with them.
    With `on_damaged_file`, a damaged file of the table does not keep a writer from writing: it is told there once,
    and its rows are taken as not stored.

        archive = Archive("archive")
        archive.append(records)
        for record in archive.frames():
            print(record.frame_id, len(record.payload))
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        create: bool = True,
        keys: Keys | None = None,
        on_damaged_file: OnDamagedFile | None = None,
    ) -> None:
        self.uri = str(uri)
        self.keys = keys
        self._on_damaged_file = on_damaged_file
        self._keys: set[FrameKey] = set()
        self._answers: dict[FrameKey, FrameKey] = {}
        self._held: dict[str, _Held] = {}
        self._table = self._opened(create=create)
        if missing := _lacking(self._table) - ADDED:
            raise ArchiveError(
                f"{self.uri}: is a Delta table but not an archive of frames: it has no column "
                f"{', '.join(sorted(missing))}; name another folder"
            )

    def append(self, records: Iterable[ArchivedFrame]) -> int:
        """Store records and return how many were new. Those that are stored already are left as they are.

        Records are committed in batches, each wholly or not at all. When this returns, all are committed.
        Raises ArchiveError where a batch cannot be committed; earlier batches stay.
        """
        return sum(len(self.commit(batch)) for batch in commit_batches(records))

    def commit(self, records: Sequence[ArchivedFrame]) -> list[FrameKey]:
        """Store records in one atomic commit; return the keys that were new. See `append`."""
        offered = {record.key: record for record in reversed(records)}
        for _ in range(COMMIT_ATTEMPTS):
            stored = self.ids()
            fresh = [record for key, record in reversed(offered.items()) if key not in stored]
            if not fresh:
                return []
            try:
                with table_errors(self.uri):
                    self._write(fresh)
            except OvertakenError:
                _let_others_pass()
                continue
            return [record.key for record in fresh]
        raise ArchiveError(
            f"{self.uri}: other writers were first {COMMIT_ATTEMPTS} times in a row; "
            "nothing of this batch was stored; run again"
        )

    def ids(self) -> set[FrameKey]:
        """The identities of all rows, as of the latest commit. Do not change the set."""
        with table_errors(self.uri):
            self._table.update_incremental()
            files = files_of(self._table)
            for gone in self._held.keys() - files:
                held = self._held.pop(gone)
                self._keys.difference_update(held.keys)
                for asked in held.answers:
                    del self._answers[asked]
            if new := files - self._held.keys():
                dataset = dataset_of(self._table)
                for file in dataset.get_fragments():
                    if file.path in new:
                        self._hold(file.path, self._indexed(file, dataset.schema))
        return self._keys

    def answers(self) -> dict[FrameKey, FrameKey]:
        """What was asked for, and the row it was stored as, where the guard fell back. Do not change the dict."""
        self.ids()
        return self._answers

    def __len__(self) -> int:
        """The number of rows, as of the latest commit."""
        with table_errors(self.uri):
            self._table.update_incremental()
            return int(self._table.count())

    def total_bytes(self) -> int:
        """The bytes of all payloads together."""
        return sum(sum(batch.column(0).to_pylist()) for batch in self.scan(columns=["bytes"]))

    def get(self, frame_id: str) -> list[ArchivedFrame]:
        """All encodings of one frame. Raises ArchiveError where there is none, or one is damaged.

        A damaged file is an error only where the frame is in no other.
        """
        damaged: list[ArchiveError] = []
        where = pc.field("frame_id") == frame_id
        found = list(self.frames(where=where, on_damaged_file=lambda _, error: damaged.append(error)))
        if not found:
            raise damaged[0] if damaged else ArchiveError(f"{self.uri}: holds no frame {frame_id!r}")
        return found

    def frames(
        self,
        *,
        where: ds.Expression | None = None,
        on_damaged: OnDamaged | None = None,
        on_damaged_file: OnDamagedFile | None = None,
    ) -> Iterator[ArchivedFrame]:
        """The rows that `where` (an Arrow expression) selects, in the table's order, payloads checked and plain.

        Raises ArchiveError, naming the frame, for a payload that is not what was stored, or that there is no key
        for; with `on_damaged`, that is called instead and the row left out. `on_damaged_file` is as for `scan`.
        """
        for batch in self.scan(where=where, on_damaged_file=on_damaged_file):
            for _, record in self._plain(batch.to_pylist(), on_damaged):
                yield record

    def scan(
        self,
        *,
        columns: Sequence[str] | None = None,
        where: ds.Expression | None = None,
        on_damaged_file: OnDamagedFile | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the latest commit's rows, a few dozen at a time, in memory that does not grow, by date.

        `columns` are those of `SCHEMA`, all by default; `where` is an Arrow expression: days, lines, files and parts
        of files in which it selects nothing are not read. Payloads are as they are stored, encrypted ones too.

        Raises ArchiveError where a file of the table is missing or damaged, and names it; with `on_damaged_file`,
        that is called instead, and the other files are read.
        """
        with table_errors(self.uri):
            self._table.update_incremental()
            dataset = dataset_of(self._table)
        yield from self._batches(dataset, list(columns or SCHEMA.names), where, on_damaged_file)

    def rewrite(
        self,
        change: Change,
        *,
        where: ds.Expression | None = None,
        dry_run: bool = False,
        on_damaged: OnDamaged | None = None,
    ) -> int:
        """Replace each row that `where` selects by what `change` returns; return how many were replaced.

        A row keeps its identity, its time and its line, and when it was stored; its payload is sealed with the
        archive's present keys. Rows are replaced some hundred at a time, in one atomic commit of one partition:
        whoever reads sees each row once, as it was or as it is. Other writers may be at work; what they changed or
        removed meanwhile is not put back. Raises ArchiveError as `frames` does; earlier commits stay.
        """
        table = self._opened(create=False)
        with table_errors(self.uri):
            batches = self._batches(dataset_of(table), SCHEMA.names, where)
            rows = (row for batch in batches for row in batch.to_pylist())
        replaced = 0
        for batch in _partition_batches(rows):
            changed = self._changed(batch, change, on_damaged)
            for _ in range(COMMIT_ATTEMPTS):
                if dry_run or not changed:
                    break
                try:
                    with table_errors(self.uri):
                        self._replace(table, changed)
                    break
                except OvertakenError:
                    _let_others_pass()
                    changed = self._changed(self._again(table, changed, where), change, on_damaged)
            else:
                raise ArchiveError(
                    f"{self.uri}: other writers were first {COMMIT_ATTEMPTS} times in a row; "
                    f"{replaced} frames were rewritten; run again for the others"
                )
            replaced += len(changed)
        return replaced

    def remove(self, rows: Iterable[Row], *, beforehand: Callable[[Sequence[Row]], None] | None = None) -> int:
        """Remove rows, which are known by their identity, date and line; return how many were named.

        Rows of one partition, some hundred to a few thousand, go in one atomic commit; `beforehand` is told of
        them first. One that is not there any more is no error. The bytes stay in the archive's files until those
        are vacuumed. Raises ArchiveError where a commit fails; earlier commits stay.
        """
        table = self._opened(create=False)
        removed = 0
        for batch in _partition_batches(rows):
            if beforehand:
                beforehand(batch)
            for _ in range(COMMIT_ATTEMPTS):
                try:
                    with table_errors(self.uri):
                        _overwrite(table, SCHEMA.empty_table(), _predicate(batch))
                    break
                except OvertakenError:
                    _let_others_pass()
                    with table_errors(self.uri):
                        table.update_incremental()
            else:
                raise ArchiveError(
                    f"{self.uri}: other writers were first {COMMIT_ATTEMPTS} times in a row; "
                    f"{removed} frames were removed; run again for the others"
                )
            removed += len(batch)
        return removed

    def _changed(self, rows: Sequence[Row], change: Change, on_damaged: OnDamaged | None) -> list[Row]:
        """The rows that are to take the place of `rows`, where `change` says so."""
        changed: list[Row] = []
        for row, record in self._plain(rows, on_damaged):
            wanted = change(record)
            if wanted is None:
                continue
            if (wanted.key, wanted.captured_at, wanted.line) != (record.key, record.captured_at, record.line):
                raise ValueError("a rewritten row keeps its identity, its time and its line")
            changed.append(row_of(sealed(wanted, self.keys), row["stored_at"]))
        return changed

    def _again(self, table: DeltaTable, rows: Sequence[Row], where: ds.Expression | None) -> list[Row]:
        """What has become of `rows` since they were read; those that are gone or no longer selected are left out."""
        keys = {key_of(row) for row in rows}
        chosen = pc.field("frame_id").isin([key.frame_id for key in keys]) & _in_partition(rows[0])
        with table_errors(self.uri):
            table.update_incremental()
            dataset = dataset_of(table)
        batches = self._batches(dataset, SCHEMA.names, chosen if where is None else chosen & where)
        return [row for batch in batches for row in batch.to_pylist() if key_of(row) in keys]

    def _plain(self, rows: Iterable[Row], on_damaged: OnDamaged | None) -> Iterator[tuple[Row, ArchivedFrame]]:
        """Each row with its record, the payload checked and unsealed."""
        for row in rows:
            try:
                self._require_sound(row)
                record = replace(frame_of(row), payload=plain_payload(row, self.keys))
            except ArchiveError as error:
                if on_damaged is None:
                    raise
                on_damaged(key_of(row), error)
                continue
            yield row, record

    def _require_sound(self, row: Row) -> None:
        if not bytes_are_as_stored(row):
            raise ArchiveError(
                f"{self.uri}: the bytes of frame {row['frame_id']} ({row['codec']}, quality {row['quality']}) were "
                "changed since they were stored; restore the archive's files from a copy"
            )

    def _write(self, records: Sequence[ArchivedFrame]) -> None:
        """Commit records on top of the version that was read; fails if another writer was first."""
        refuse_full_disk(self.uri, sum(len(record.payload) for record in records))
        stored_at = datetime.now(UTC)
        rows = [row_of(sealed(record, self.keys), stored_at) for record in records]
        written = commit(
            self._table,
            pa.Table.from_pylist(rows, schema=SCHEMA),
            mode="append",
            schema_mode="merge" if _lacking(self._table) else None,
            writer_properties=WRITER,
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        if len(written) == 1:
            answers = {record.asked: record.key for record in records if record.asked_codec}
            self._hold(written.pop(), _Held([record.key for record in records], answers))

    def _replace(self, table: DeltaTable, rows: Sequence[Row]) -> None:
        """Put rows of one partition in the place of those with their identities; fails if those were changed."""
        refuse_full_disk(self.uri, sum(row["bytes"] for row in rows))
        _overwrite(table, pa.Table.from_pylist(list(rows), schema=SCHEMA), _predicate(rows))

    def _hold(self, file: str, held: "_Held") -> None:
        """Note which rows a file of the table holds."""
        self._held[file] = held
        self._keys.update(held.keys)
        self._answers.update(held.answers)

    def _indexed(self, file: ds.ParquetFileFragment, schema: pa.Schema) -> "_Held":
        try:
            return self._read_index(file, schema)
        except ArchiveError as error:
            if self._on_damaged_file is None or not is_damage(error):
                raise
            self._on_damaged_file(file.path, error)
            return _Held([], {})

    def _read_index(self, file: ds.ParquetFileFragment, schema: pa.Schema) -> "_Held":
        keys: list[FrameKey] = []
        answers: dict[FrameKey, FrameKey] = {}
        with table_errors(self.uri, file.path):
            for batch in file_batches(file, schema, [*IDENTITY, *ASKED], None):
                rows = batch.to_pydict()
                for name in ("codec", "model"):
                    rows[name] = map(intern, rows[name])  # one text for all rows, not one for each
                found = list(map(FrameKey, *(rows[name] for name in IDENTITY)))
                keys += found
                for key, *asked in zip(found, *(rows[name] for name in ASKED), strict=True):
                    if asked[0]:
                        answers[FrameKey(key.frame_id, *asked)] = key
        return _Held(keys, answers)

    def _opened(self, *, create: bool) -> DeltaTable:
        with table_errors(self.uri):
            return open_table(self.uri, schema=SCHEMA, partitions=PARTITIONS, name=TABLE_NAME, create=create)

    def _batches(
        self,
        dataset: ds.Dataset,
        columns: list[str],
        where: ds.Expression | None,
        on_damaged_file: OnDamagedFile | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches of `dataset`, file by file in the order of their dates, so that a damaged file can be named."""
        for file in sorted(dataset.get_fragments(filter=where), key=lambda file: file.path):
            try:
                with table_errors(self.uri, file.path):
                    yield from file_batches(file, dataset.schema, columns, where)
            except ArchiveError as error:
                if on_damaged_file is None:
                    raise
                on_damaged_file(file.path, error)


class _Held(NamedTuple):
    """The rows of one file, and which of them answer what was asked for otherwise."""

    keys: list[FrameKey]
    answers: dict[FrameKey, FrameKey]


def commit_batches(records: Iterable[ArchivedFrame]) -> Iterator[list[ArchivedFrame]]:
    """Records in lists small enough for one commit each, in their order."""
    batch: list[ArchivedFrame] = []
    held = 0
    for record in records:
        batch.append(record)
        held += len(record.payload)
        if len(batch) == COMMIT_FRAMES or held >= COMMIT_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _partition_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in lists that one commit can replace: of one partition each, and no more than fit in memory."""
    batch: list[Row] = []
    held = 0
    for row in rows:
        full = len(batch) >= REWRITE_FRAMES or held >= REWRITE_BYTES
        if batch and (full or any(row[name] != batch[0][name] for name in PARTITIONS)):
            yield batch
            batch, held = [], 0
        batch.append(row)
        held += row["bytes"]
    if batch:
        yield batch


def file_batches(
    file: ds.ParquetFileFragment, schema: pa.Schema, columns: list[str], where: ds.Expression | None
) -> Iterator[pa.RecordBatch]:
    with_payload = "payload" in columns
    size = READ_ROWS if with_payload else READ_ROWS * 1024
    if where is None:
        yield from file.to_batches(schema=schema, columns=columns, batch_size=size, batch_readahead=1)
        return
    if not any(map(_is_view, file.physical_schema.types)):
        for part in file.split_by_row_group(filter=where, schema=schema) if with_payload else [file]:
            if not with_payload or _selects(part, schema, where):  # payloads are read only where one is wanted
                yield from part.to_batches(
                    schema=schema, columns=columns, filter=where, batch_size=size, batch_readahead=1
                )
        return
    # written by `DeltaTable.delete`: pyarrow cannot compare the statistics of its columns with the values asked for
    for batch in file.to_batches(schema=schema, batch_size=READ_ROWS, batch_readahead=1):
        yield from pa.Table.from_batches([batch]).filter(where).select(columns).to_batches()


def _selects(part: ds.ParquetFileFragment, schema: pa.Schema, where: ds.Expression) -> bool:
    return any(batch.num_rows for batch in part.to_batches(schema=schema, columns=IDENTITY[:1], filter=where))


def _is_view(kind: pa.DataType) -> bool:
    return pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)


def dataset_of(table: DeltaTable) -> ds.Dataset:
    """The table's files; columns that it lacks are null."""
    dataset = table.to_pyarrow_dataset()
    added = [SCHEMA.field(name) for name in SCHEMA.names if name not in dataset.schema.names]
    return dataset.replace_schema(pa.schema([*dataset.schema, *added])) if added else dataset


def _lacking(table: DeltaTable) -> set[str]:
    return set(SCHEMA.names) - {column.name for column in table.schema().fields}


def _overwrite(table: DeltaTable, rows: pa.Table, predicate: str) -> None:
    """Put rows in the place of those that the predicate selects; fails if another writer changed those."""
    _add_columns(table)
    commit(table, rows, mode="overwrite", predicate=predicate, writer_properties=WRITER)


def _add_columns(table: DeltaTable) -> None:
    """Give an older table the columns that it lacks, in a commit that stores nothing."""
    if _lacking(table):
        write_deltalake(table, SCHEMA.empty_table(), mode="append", schema_mode="merge", writer_properties=WRITER)


def _in_partition(row: Row) -> ds.Expression:
    line = pc.field("line")
    return (pc.field("date") == row["date"]) & (line.is_null() if row["line"] is None else line == row["line"])


def _predicate(rows: Collection[Row]) -> str:
    """SQL that is true for the rows of one partition with these identities, and for no others."""
    frames: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        frames.setdefault((row["codec"], row["model"], row["quality"]), []).append(row["frame_id"])
    kinds = [
        " AND ".join([*map(is_value, IDENTITY[1:], kind), is_among("frame_id", ids)]) for kind, ids in frames.items()
    ]
    first = next(iter(rows))
    return " AND ".join([*(is_value(name, first[name]) for name in PARTITIONS), f"({' OR '.join(kinds)})"])


def _let_others_pass() -> None:
    """Wait a moment; not longer from one attempt to the next, or a busy writer would always be first."""
    time.sleep(random.uniform(0, LONGEST_PAUSE))
