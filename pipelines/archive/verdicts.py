"""What detectors said of archived frames: a second table beside the archive's, at `_verdicts`.

A frame is committed without waiting for its verdict, so that no detector stands between a frame and the archive.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from pipelines.archive.schema import FrameKey
from pipelines.archive.side_table import SideTable

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
    """The verdicts on the frames of the archive at `uri`.

    A verdict may be stored twice, as after a crash; `latest` gives one a row and detector.
    """

    def __init__(self, uri: str) -> None:
        self._table = SideTable(uri, FOLDER, VERDICT_SCHEMA)

    def append(self, judged: Sequence[JudgedFrame]) -> None:
        """Store verdicts. Raises ArchiveError where they cannot be stored."""
        self._table.append([_row(verdict) for verdict in judged])

    def latest(self, where: ds.Expression | None = None) -> Iterator[JudgedFrame]:
        """The last verdict of each detector on each row, of those that `where` (an Arrow expression) selects."""
        last: dict[tuple[FrameKey, str], JudgedFrame] = {}
        for verdict in map(_verdict_of, self._table.rows(where)):
            row = (verdict.key, verdict.detector)
            if row not in last or last[row].judged_at <= verdict.judged_at:
                last[row] = verdict
        yield from last.values()


def _row(verdict: JudgedFrame) -> dict[str, Any]:
    """The row of a verdict; an empty line is null, as Delta cannot hold an empty partition value."""
    captured_at = verdict.captured_at.astimezone(UTC)
    return asdict(verdict) | {"captured_at": captured_at, "date": captured_at.date(), "line": verdict.line or None}


def _verdict_of(row: dict[str, Any]) -> JudgedFrame:
    times = {name: row[name].astimezone(UTC) for name in ("captured_at", "judged_at")}
    return JudgedFrame(
        **{name: row[name] for name in JudgedFrame.__dataclass_fields__} | times | {"line": row["line"] or ""}
    )
