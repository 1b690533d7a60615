"""How much an archive holds, in sums over its rows. No payload is read for it."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.schema import Row
from pipelines.archive.table import Archive, OnDamagedFile

GROUPS = ("codec", "model", "quality", "line", "month")
_SUMMED = ("frames", "bytes", "raw_bytes")


@dataclass(frozen=True)
class Amount:
    """Frames, the bytes of their payloads, and those of their pixels without compression."""

    frames: int = 0
    bytes: int = 0
    raw_bytes: int = 0


@dataclass(frozen=True)
class Stats:
    """Sums over the whole archive, and for each value of a property. A month is of the time of capture, in UTC."""

    uri: str
    total: Amount
    first: str | None
    last: str | None
    by: dict[str, dict[str, Amount]]

    def to_dict(self) -> dict[str, Any]:
        """The sums as they are printed by `--json`."""
        return {"archive": self.uri, **asdict(self.total), "first": self.first, "last": self.last} | {
            f"by_{group}": {value: asdict(amount) for value, amount in amounts.items()}
            for group, amounts in self.by.items()
        }


def stats_of(archive: Archive, *, on_damaged_file: OnDamagedFile | None = None) -> Stats:
    """Sum up the rows of the latest commit. A damaged file is an error, or told to `on_damaged_file`."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(_SUMMED))
    first = last = None
    columns = [
        "codec",
        "model",
        "quality",
        "line",
        "captured_at",
        "width",
        "height",
        "channels",
        "bit_depth",
        "bytes",
    ]
    for batch in archive.scan(columns=columns, on_damaged_file=on_damaged_file):
        for row in _summed(batch):
            entry = sums[tuple(row[group] for group in GROUPS)]
            for position, name in enumerate(_SUMMED):
                entry[position] += row[name]
        if batch.num_rows:
            ends = pc.min_max(batch.column("captured_at")).as_py()
            first = min(first, ends["min"]) if first else ends["min"]
            last = max(last, ends["max"]) if last else ends["max"]
    return Stats(
        archive.uri,
        _amount(list(sums.values())),
        first.isoformat() if first else None,
        last.isoformat() if last else None,
        {group: _by(sums, position) for position, group in enumerate(GROUPS)},
    )


def _summed(batch: pa.RecordBatch) -> list[Row]:
    """The batch's sums, one row for each combination of the groups."""
    table = pa.Table.from_batches([batch])
    sample = pc.if_else(pc.greater(table["bit_depth"], 8), 2, 1)
    size = [table[name].cast(pa.int64()) for name in ("width", "height", "channels")]
    raw = pc.multiply(pc.multiply(size[0], size[1]), pc.multiply(size[2], sample))
    table = (
        table.select(["codec", "model", "quality", "line", "bytes"])
        .append_column("raw_bytes", raw)
        .append_column("month", pc.strftime(table["captured_at"], "%Y-%m"))
    )
    grouped = table.group_by(list(GROUPS)).aggregate([("bytes", "sum"), ("raw_bytes", "sum"), ([], "count_all")])
    return grouped.rename_columns(
        {"bytes_sum": "bytes", "raw_bytes_sum": "raw_bytes", "count_all": "frames"}
    ).to_pylist()


def _by(sums: dict[tuple[Any, ...], list[int]], position: int) -> dict[str, Amount]:
    parts: dict[str, list[list[int]]] = defaultdict(list)
    for group, entry in sums.items():
        parts["" if group[position] is None else str(group[position])].append(entry)
    return {value: _amount(parts[value]) for value in sorted(parts)}


def _amount(entries: list[list[int]]) -> Amount:
    return Amount(*(sum(column) for column in zip(*entries, strict=True))) if entries else Amount()
