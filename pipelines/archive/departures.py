"""The record of frames that were let go: what they were, under which rule, when, and who asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.schema import SCHEMA, Row
from pipelines.archive.side_table import SideTable

FOLDER = "_expired"
KEPT = [
    "frame_id",
    "codec",
    "model",
    "quality",
    "captured_at",
    "date",
    "line",
    "station",
    "product",
    "camera",
    "meta",
]
"""What stays on record of a row, beside the hash of its original pixels and the size of its payload."""
DEPARTURE_SCHEMA = pa.schema(
    [
        *(SCHEMA.field(name) for name in [*KEPT, "pixels_sha256", "bytes"]),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("asked_by", pa.string(), nullable=False),
        pa.field("expired_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


@dataclass(frozen=True)
class Departure:
    """A frame that was let go."""

    frame_id: str
    codec: str
    quality: int
    captured_at: datetime
    rule: str
    asked_by: str
    expired_at: datetime


class Departures:
    """The record at the archive `uri`. A frame is entered before it goes, so that none goes unrecorded."""

    def __init__(self, uri: str) -> None:
        self._table = SideTable(uri, FOLDER, DEPARTURE_SCHEMA)

    def append(self, rows: Sequence[Row], *, by: str, at: datetime) -> None:
        """Enter rows with the columns of the schema, of which `rule` says why each goes."""
        self._table.append([{**row, "asked_by": by, "expired_at": at} for row in rows])

    def frame_ids(self) -> set[str]:
        """The ids of all frames on record."""
        return {row["frame_id"] for row in self._table.rows(columns=["frame_id"])}

    def of(self, frame_id: str) -> Iterator[Departure]:
        """What is on record of a frame; more than one entry where it was stored more than once."""
        for row in self._table.rows(pc.field("frame_id") == frame_id):
            times = {name: row[name].astimezone(UTC) for name in ("captured_at", "expired_at")}
            yield Departure(**{name: row[name] for name in Departure.__dataclass_fields__} | times)
