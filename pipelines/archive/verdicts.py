"""What detectors said of archived frames: a second table beside the archive's, at `_verdicts`.

A frame is committed without waiting for its verdict, so that no detector stands between a frame and the archive.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, write_deltalake

from inspect_compress.errors import ArchiveError
from pipelines.archive.place import OvertakenError, open_table, table_errors
from pipelines.archive.schema import PARTITIONS, FrameKey

VERDICT_SCHEMA = pa.schema(
    [
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("codec", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("quality", pa.int32(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("line", pa.string()),
        pa.field("captured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("detector", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("defective", pa.bool_(), nullable=False),
        pa.field("judged_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
FOLDER = "_verdicts"
"""Delta Lake leaves alone what begins with `_` in a table's folder."""
VERDICTS_NAME = "inspect-compress verdicts"


@dataclass(frozen=True)
class JudgedFrame:
    """What a detector said of one row of the archive: at or above `threshold`, `score` is defective."""

    frame_id: str
    codec: str
    model: str
    quality: int
    line: str
    captured_at: datetime
    detector: str
    score: float
    threshold: float
    defective: bool
    judged_at: datetime

    @property
    def key(self) -> FrameKey:
        """The row of the archive that was judged."""
        return FrameKey(self.frame_id, self.codec, self.model, self.quality)


class Verdicts:
    """The verdicts on the frames of the archive at `uri`. The table is made when the first is stored.

    A verdict may be stored twice, as after a crash; `latest` gives one a row and detector.
    """

    def __init__(self, uri: str) -> None:
        self.uri = f"{uri.rstrip('/')}/{FOLDER}"

    def append(self, judged: Sequence[JudgedFrame]) -> None:
        """Store verdicts in one commit. Raises ArchiveError where they cannot be stored."""
        if not judged:
            return
        rows = pa.Table.from_pylist([_row(verdict) for verdict in judged], schema=VERDICT_SCHEMA)
        try:
            with table_errors(self.uri):
                table = open_table(
                    self.uri, schema=VERDICT_SCHEMA, partitions=PARTITIONS, name=VERDICTS_NAME, create=True
                )
                write_deltalake(table, rows, mode="append")
        except OvertakenError as error:
            raise ArchiveError(
                f"{self.uri}: other writers were first too often; nothing was stored; try again"
            ) from error

    def latest(self, where: ds.Expression | None = None) -> Iterator[JudgedFrame]:
        """The last verdict of each detector on each row, of those that `where` (an Arrow expression) selects."""
        last: dict[tuple[FrameKey, str], JudgedFrame] = {}
        for verdict in self._stored(where):
            row = (verdict.key, verdict.detector)
            if row not in last or last[row].judged_at <= verdict.judged_at:
                last[row] = verdict
        yield from last.values()

    def _stored(self, where: ds.Expression | None) -> Iterator[JudgedFrame]:
        with table_errors(self.uri):
            if not DeltaTable.is_deltatable(self.uri):
                return
            dataset = DeltaTable(self.uri).to_pyarrow_dataset()
        for file in dataset.get_fragments(filter=where):
            with table_errors(self.uri, file.path):
                for batch in file.to_batches(schema=dataset.schema, filter=where):
                    yield from map(_verdict_of, batch.to_pylist())


def _row(verdict: JudgedFrame) -> dict[str, Any]:
    """The row of a verdict; an empty line is null, as Delta cannot hold an empty partition value."""
    captured_at = verdict.captured_at.astimezone(UTC)
    return asdict(verdict) | {"captured_at": captured_at, "date": captured_at.date(), "line": verdict.line or None}


def _verdict_of(row: dict[str, Any]) -> JudgedFrame:
    times = {name: row[name].astimezone(UTC) for name in ("captured_at", "judged_at")}
    return JudgedFrame(
        **{name: row[name] for name in JudgedFrame.__dataclass_fields__} | times | {"line": row["line"] or ""}
    )
