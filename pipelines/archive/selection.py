"""Which rows of an archive are meant: by time, place, product and verdict; and what is known of each of them.

Selections reach the table as filters, so that days, lines and files without such rows are not read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from itertools import groupby, islice
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from inspect_compress.errors import ConfigError
from pipelines.archive.schema import SCHEMA, FrameKey, key_of, meta_of
from pipelines.archive.table import Archive, OnDamagedFile
from pipelines.archive.verdicts import JudgedFrame, Verdicts
from pipelines.judgement import Judgement

FACTS = [name for name in SCHEMA.names if name != "payload"]
"""The columns that say something of a frame."""


@dataclass(frozen=True)
class Selection:
    """Rows with all of these properties; what is None or empty is not asked for.

    Times are of capture, `since` included and `until` not. `verdict` is that of the latest judgement of each
    detector, or of `detector` alone; a frame that was never judged has none.
    """

    since: datetime | None = None
    until: datetime | None = None
    line: str | None = None
    station: str | None = None
    product: str | None = None
    camera: str | None = None
    codec: str | None = None
    frame_ids: tuple[str, ...] = ()
    verdict: Judgement | None = None
    detector: str | None = None

    @property
    def where(self) -> ds.Expression | None:
        """All but the verdict, as an Arrow expression."""
        columns = ("station", "product", "camera", "codec")
        terms = [*self._bounds(), *(pc.field(name) == getattr(self, name) for name in columns if getattr(self, name))]
        if self.frame_ids:
            terms.append(pc.field("frame_id").isin(list(self.frame_ids)))
        return reduce(and_, terms) if terms else None

    @property
    def where_judged(self) -> ds.Expression | None:
        """What a verdict's row says of time, line and frame, as an Arrow expression."""
        terms = self._bounds()
        if self.detector:
            terms.append(pc.field("detector") == self.detector)
        if self.frame_ids:
            terms.append(pc.field("frame_id").isin(list(self.frame_ids)))
        return reduce(and_, terms) if terms else None

    def to_dict(self) -> dict[str, Any]:
        """What is asked for, in JSON's types."""
        asked = {name: value for name, value in vars(self).items() if value not in (None, ())}
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asked.items()}

    def _bounds(self) -> list[ds.Expression]:
        """Filters on what both tables are divided by: the day beside the time, and the line."""
        terms = []
        if self.since:
            terms += [pc.field("date") >= _day(self.since), pc.field("captured_at") >= _instant(self.since)]
        if self.until:
            terms += [pc.field("date") <= _day(self.until), pc.field("captured_at") < _instant(self.until)]
        if self.line is not None:
            terms.append(pc.field("line") == self.line if self.line else pc.field("line").is_null())
        return terms


@dataclass(frozen=True)
class Found:
    """A row's columns without its payload, and the latest verdict of each detector on it."""

    row: dict[str, Any]
    verdicts: tuple[JudgedFrame, ...]

    @property
    def key(self) -> FrameKey:
        """What the row is known by."""
        return key_of(self.row)

    def to_dict(self) -> dict[str, Any]:
        """The columns and verdicts in JSON's types; times are ISO 8601, in UTC."""
        values = {
            name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in self.row.items()
        }
        verdicts = [
            {name: getattr(v, name) for name in ("detector", "score", "threshold", "defective")}
            | {"judged_at": v.judged_at.isoformat()}
            for v in self.verdicts
        ]
        return values | {"meta": meta_of(self.row), "verdicts": verdicts}


def find(
    archive: Archive,
    selection: Selection,
    *,
    limit: int | None = None,
    on_damaged_file: OnDamagedFile | None = None,
) -> Iterator[Found]:
    """The selected rows by time of capture, at most `limit`. One day's rows are held in memory.

    Raises ArchiveError where a file is damaged; with `on_damaged_file`, that is called instead.
    """
    yield from islice(_found(archive, selection, on_damaged_file), limit)


def parse_time(text: str, name: str) -> datetime:
    """A time of the command line; without an offset it is in UTC. Raises ConfigError that names the option."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{name} {text!r}: is not a time; write 2027-03-04, or 2027-03-04T08:30:00+09:00"
        ) from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _found(archive: Archive, selection: Selection, on_damaged_file: OnDamagedFile | None) -> Iterator[Found]:
    judged = judged_rows(archive, selection)
    batches = archive.scan(columns=FACTS, where=selection.where, on_damaged_file=on_damaged_file)
    for _, day in groupby((batch for batch in batches if batch.num_rows), lambda batch: batch.column("date")[0]):
        rows = pa.Table.from_batches(list(day)).sort_by([("captured_at", "ascending"), ("frame_id", "ascending")])
        for batch in rows.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                verdicts = judged.get(key_of(row), ())
                if selection.verdict is None or judgement(verdicts) == selection.verdict:
                    yield Found(row, tuple(verdicts))


def judged_rows(archive: Archive, selection: Selection) -> dict[FrameKey, Sequence[JudgedFrame]]:
    """The latest verdicts on the rows that a selection may mean."""
    judged: dict[FrameKey, list[JudgedFrame]] = {}
    for verdict in Verdicts(archive.uri).latest(selection.where_judged):
        judged.setdefault(verdict.key, []).append(verdict)
    return dict(judged)


def judgement(verdicts: Sequence[JudgedFrame]) -> Judgement | None:
    """What the verdicts say together; None where there is none."""
    if not verdicts:
        return None
    return Judgement.defective if any(verdict.defective for verdict in verdicts) else Judgement.good


def _day(time: datetime) -> pa.Scalar:
    return pa.scalar(time.astimezone(UTC).date(), pa.date32())


def _instant(time: datetime) -> pa.Scalar:
    return pa.scalar(time.astimezone(UTC), pa.timestamp("us", tz="UTC"))
