"""The archive: encoded frames and what is known about each, in one Delta Lake table.

It stores and returns encoded bytes; encoding and decoding them is the business of the stages.
`docs/archive.md` describes the table for other tools.
"""

import json
import math
import random
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import ColumnProperties, CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from inspect_compress.errors import ArchiveError

SCHEMA = pa.schema(
    [
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("captured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("line", pa.string()),
        pa.field("station", pa.string()),
        pa.field("product", pa.string()),
        pa.field("camera", pa.string()),
        pa.field("meta", pa.string(), nullable=False),
        pa.field("codec", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("quality", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("channels", pa.int32(), nullable=False),
        pa.field("bit_depth", pa.int32(), nullable=False),
        pa.field("pixels_sha256", pa.string(), nullable=False),
        pa.field("psnr", pa.float64()),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("payload_crc32c", pa.int64(), nullable=False),
        pa.field("stored_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("rule", pa.string()),
        pa.field("fallback", pa.string()),
        pa.field("asked_codec", pa.string()),
        pa.field("asked_model", pa.string()),
        pa.field("asked_quality", pa.int32()),
    ]
)
ADDED = frozenset({"rule", "fallback", "asked_codec", "asked_model", "asked_quality"})
"""Columns that tables from before the guard and the policy lack: null when read, and added by the next commit."""
TABLE_NAME = "inspect-compress archive"
PARTITIONS = ["date", "line"]
IDENTITY = ["frame_id", "codec", "model", "quality"]
_ASKED = ["asked_codec", "asked_model", "asked_quality"]
_NULL_IF_EMPTY = ("line", "station", "product", "camera", "rule", "fallback", "asked_codec", "asked_model")

COMMIT_FRAMES = 64
COMMIT_BYTES = 64 * 2**20
"""Most frames and payload bytes of one commit: what is held in memory, and lost from it in a crash."""
COMMIT_ATTEMPTS = 30
"""How often a commit is tried again when other writers were first."""
COMMIT_RESERVE = 2**20
"""Bytes that must be free beside the payloads of a commit: for its metadata, log and checkpoint."""
READ_ROWS = 32
"""Rows in one batch of a scan."""
UNUSABLE = frozenset("[]^|%\\\t\n")
"""Characters in a local path with which deltalake 1.6 fails, or writes to another folder."""

_WRITER = WriterProperties(
    compression="UNCOMPRESSED",  # payloads are compressed already
    column_properties={"payload": ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")},
)
DISK_FULL = "the disk is full; nothing of this batch was stored; free some space and run again"

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class FrameKey(NamedTuple):
    """What a row is known by: it is stored once, however often it is offered."""

    frame_id: str
    codec: str
    model: str
    quality: int


@dataclass(frozen=True)
class ArchivedFrame:
    """One encoded frame as it is stored. `payload` is a whole file of the codec's format.

    `pixels_sha256` is the hash of the image's `sample_bytes` before compression. `psnr` is in dB, measured on
    the decoded payload before it was stored; None where the decoded image is equal to the original.

    `rule` names the rule that chose the quality. Where the guard fell back, `fallback` says why, and `asked_codec`,
    `asked_model` and `asked_quality` what was asked for instead of `codec`, `model` and `quality`.
    """

    frame_id: str
    captured_at: datetime
    codec: str
    model: str
    quality: int
    width: int
    height: int
    channels: int
    payload: bytes
    pixels_sha256: str
    psnr: float | None = None
    bit_depth: int = 8
    line: str = ""
    station: str = ""
    product: str = ""
    camera: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    rule: str = ""
    fallback: str = ""
    asked_codec: str = ""
    asked_model: str = ""
    asked_quality: int = 0

    @property
    def key(self) -> FrameKey:
        """What the row is known by."""
        return FrameKey(self.frame_id, self.codec, self.model, self.quality)

    @property
    def asked(self) -> FrameKey:
        """What was asked for: the key, unless the guard fell back."""
        if not self.asked_codec:
            return self.key
        return FrameKey(self.frame_id, self.asked_codec, self.asked_model, self.asked_quality)


class Archive:
    """A Delta Lake table of encoded frames, at a local folder or an object store's URI.

    Opens the archive, or creates it where nothing is there and `create` is true. Several processes may
    write to one archive at once. Raises ArchiveError where `uri` holds something else, or cannot be
    reached. Object stores take their credentials from the environment.

        archive = Archive("archive")
        archive.append(records)
        for record in archive.frames():
            print(record.frame_id, len(record.payload))
    """

    def __init__(self, uri: str | Path, *, create: bool = True) -> None:
        self.uri = str(uri)
        self._keys: set[FrameKey] = set()
        self._answers: dict[FrameKey, FrameKey] = {}
        self._indexed: set[str] = set()
        with self._errors():
            self._table = _open(self.uri, create=create)
        if missing := self._lacking() - ADDED:
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
        for attempt in range(COMMIT_ATTEMPTS):
            stored = self.ids()
            fresh = [record for key, record in reversed(offered.items()) if key not in stored]
            if not fresh:
                return []
            try:
                with self._errors():
                    self._write(fresh)
            except _OvertakenError:
                time.sleep(random.uniform(0, 0.05 * min(attempt + 1, 10)))
                continue
            return [record.key for record in fresh]
        raise ArchiveError(
            f"{self.uri}: other writers were first {COMMIT_ATTEMPTS} times in a row; "
            "nothing of this batch was stored; run again"
        )

    def ids(self) -> set[FrameKey]:
        """The identities of all rows, as of the latest commit. Do not change the set."""
        with self._errors():
            self._table.update_incremental()
            files = set(self._table.file_uris())
            if not self._indexed <= files:  # compacted or deleted since: start afresh
                self._keys, self._answers, self._indexed = set(), {}, set()
            if files != self._indexed:
                self._index(self._dataset())
                self._indexed = files
        return self._keys

    def answers(self) -> dict[FrameKey, FrameKey]:
        """What was asked for, and the row it was stored as, where the guard fell back. Do not change the dict."""
        self.ids()
        return self._answers

    def __len__(self) -> int:
        """The number of rows, as of the latest commit."""
        with self._errors():
            self._table.update_incremental()
            return int(self._table.count())

    def total_bytes(self) -> int:
        """The bytes of all payloads together."""
        return sum(sum(batch.column(0).to_pylist()) for batch in self.scan(columns=["bytes"]))

    def get(self, frame_id: str) -> list[ArchivedFrame]:
        """All encodings of one frame. Raises ArchiveError where there is none, or one is damaged."""
        found = list(self.frames(where=pc.field("frame_id") == frame_id))
        if not found:
            raise ArchiveError(f"{self.uri}: holds no frame {frame_id!r}")
        return found

    def frames(
        self,
        *,
        where: ds.Expression | None = None,
        on_damaged: Callable[[FrameKey, ArchiveError], None] | None = None,
    ) -> Iterator[ArchivedFrame]:
        """The rows that `where` (an Arrow expression) selects, in the table's order, payloads checked.

        Raises ArchiveError, naming the frame, for a payload that is not what was stored; with
        `on_damaged`, that is called instead and the row left out.
        """
        for batch in self.scan(where=where):
            for row in batch.to_pylist():
                try:
                    _check_payload(row, self.uri)
                except ArchiveError as error:
                    if on_damaged is None:
                        raise
                    on_damaged(FrameKey(*(row[name] for name in IDENTITY)), error)
                    continue
                yield _frame_from_row(row)

    def scan(
        self, *, columns: Sequence[str] | None = None, where: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the latest commit's rows, a few dozen at a time, in memory that does not grow.

        `columns` are those of `SCHEMA`, all by default; `where` is an Arrow expression. Raises ArchiveError
        where a file of the table is missing or damaged, and names it.
        """
        with self._errors():
            self._table.update_incremental()
            dataset = self._dataset()
        yield from self._batches(dataset, list(columns or SCHEMA.names), where)

    def _write(self, records: Sequence[ArchivedFrame]) -> None:
        """Commit records on top of the version that was read; fails if another writer was first."""
        _refuse_full_disk(self.uri, sum(len(record.payload) for record in records))
        stored_at = datetime.now(UTC)
        rows = pa.Table.from_pylist([_row(record, stored_at) for record in records], schema=SCHEMA)
        write_deltalake(
            self._table,
            rows,
            mode="append",
            schema_mode="merge" if self._lacking() else None,
            writer_properties=_WRITER,
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        self._keys.update(record.key for record in records)
        self._answers.update({record.asked: record.key for record in records if record.asked_codec})
        self._indexed = set(self._table.file_uris())

    def _index(self, dataset: ds.Dataset) -> None:
        for batch in self._batches(dataset, [*IDENTITY, *_ASKED], None):
            rows = batch.to_pydict()
            keys = list(map(FrameKey, *(rows[name] for name in IDENTITY)))
            self._keys.update(keys)
            for key, *asked in zip(keys, *(rows[name] for name in _ASKED), strict=True):
                if asked[0]:
                    self._answers[FrameKey(key.frame_id, *asked)] = key

    def _dataset(self) -> ds.Dataset:
        """The table's files; columns that it lacks are null."""
        dataset = self._table.to_pyarrow_dataset()
        added = [SCHEMA.field(name) for name in SCHEMA.names if name not in dataset.schema.names]
        return dataset.replace_schema(pa.schema([*dataset.schema, *added])) if added else dataset

    def _lacking(self) -> set[str]:
        return set(SCHEMA.names) - {column.name for column in self._table.schema().fields}

    def _batches(
        self, dataset: ds.Dataset, columns: list[str], where: ds.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        """Batches of `dataset`, file by file, so that a damaged file can be named."""
        for file in dataset.get_fragments(filter=where):
            with self._errors(file.path):
                yield from file.to_batches(
                    schema=dataset.schema,
                    columns=columns,
                    filter=where,
                    batch_size=READ_ROWS if "payload" in columns else READ_ROWS * 1024,
                    batch_readahead=1,
                )

    @contextmanager
    def _errors(self, file: str = "") -> Iterator[None]:
        """Turn what the libraries raise into an ArchiveError that names the archive, and the file."""
        try:
            yield
        except CommitFailedError as error:
            raise _OvertakenError from error
        except (DeltaError, OSError, pa.ArrowException) as error:
            where = f"{self.uri}, file {file}" if file else self.uri
            raise ArchiveError(f"{where}: {_reason(error)}") from error


class _OvertakenError(Exception):
    """Another writer committed first."""


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


def _open(uri: str, *, create: bool) -> DeltaTable:
    _refuse_unfit_place(uri)
    try:
        return DeltaTable(uri)
    except TableNotFoundError as error:
        if not create:
            raise ArchiveError(f"{uri}: there is no archive here") from error
    with suppress(CommitFailedError):  # another process created it in this moment
        DeltaTable.create(uri, schema=SCHEMA, partition_by=PARTITIONS, mode="ignore", name=TABLE_NAME)
    return DeltaTable(uri)


def _refuse_unfit_place(uri: str) -> None:
    """Raise ArchiveError where a local `uri` is a file, holds other things, or has an unusable name."""
    if "://" in uri:
        return
    path = Path(uri)
    if unusable := sorted(UNUSABLE & set(path.absolute().as_posix())):
        raise ArchiveError(f"{uri}: Delta Lake cannot use a path with {' '.join(unusable)}; name another folder")
    if path.exists() and not path.is_dir():
        raise ArchiveError(f"{uri}: is a file, not an archive; name a folder")
    if path.is_dir() and any(path.iterdir()) and not (path / "_delta_log").is_dir():
        raise ArchiveError(f"{uri}: is not an archive but holds other files; name an empty or a new folder")


def _refuse_full_disk(uri: str, payload_bytes: int) -> None:
    """Raise ArchiveError where a local disk has no room: a write that fails midway leaves files behind."""
    if "://" in uri:
        return
    free = shutil.disk_usage(uri).free
    if free < payload_bytes + COMMIT_RESERVE:
        raise ArchiveError(f"{uri}: {DISK_FULL}")


def _row(record: ArchivedFrame, stored_at: datetime) -> dict[str, Any]:
    """The row of a record; an empty line is null, as Delta cannot hold an empty partition value."""
    captured_at = record.captured_at.astimezone(UTC)
    return {
        **{name: getattr(record, name, None) for name in SCHEMA.names},
        "captured_at": captured_at,
        "date": captured_at.date(),
        "line": record.line or None,
        "meta": json.dumps(record.meta, ensure_ascii=False, sort_keys=True),
        "psnr": record.psnr if record.psnr is not None and math.isfinite(record.psnr) else None,
        "rule": record.rule or None,
        "fallback": record.fallback or None,
        **{name: getattr(record, name) if record.asked_codec else None for name in _ASKED},
        "bytes": len(record.payload),
        "payload_crc32c": google_crc32c.value(record.payload),
        "stored_at": stored_at,
    }


def _frame_from_row(row: dict[str, Any]) -> ArchivedFrame:
    names = ArchivedFrame.__dataclass_fields__
    values = {name: row[name] for name in names}
    values["captured_at"] = row["captured_at"].astimezone(UTC)
    values["meta"] = json.loads(row["meta"])
    values.update({name: row[name] or "" for name in _NULL_IF_EMPTY})
    values["asked_quality"] = row["asked_quality"] or 0
    return ArchivedFrame(**values)


def _check_payload(row: dict[str, Any], uri: str) -> None:
    """Raise ArchiveError where the payload's length or checksum is not the one stored with it."""
    payload = row["payload"]
    if len(payload) != row["bytes"] or google_crc32c.value(payload) != row["payload_crc32c"]:
        raise ArchiveError(
            f"{uri}: the bytes of frame {row['frame_id']} ({row['codec']}, quality {row['quality']}) were "
            "changed since they were stored; restore the archive's files from a copy"
        )


def _reason(error: Exception) -> str:
    """One line of what a library's error of many lines says."""
    text = _ANSI_COLOUR.sub("", str(error)).split("\n   0: ")[0]
    if "No space left on device" in text:
        return DISK_FULL
    lines = [line.strip(" ↳") for line in text.splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__
