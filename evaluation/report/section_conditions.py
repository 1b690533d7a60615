"""Hard conditions: recall per shift and quality, and whether the shift or the codec is to blame."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.evidence import Evidence
from evaluation.report.formats import detector_name, percent
from evaluation.report.texts import Texts
from evaluation.shift_kpis import ShiftRow, first_lost
from evaluation.statistics import Estimate


@dataclass(frozen=True)
class Cell:
    """One shift, step and quality; `word` says who is to blame (`culprit`), `first`: that it is the first loss."""

    recall: Estimate
    alarms: float
    culprit: str
    word: str
    first: bool


@dataclass(frozen=True)
class ConditionRow:
    """One step of a shift: first without compression, then per quality; `begins`: the shift's first step."""

    name: str
    begins: bool
    cells: Sequence[Cell | None]


@dataclass(frozen=True)
class ConditionTable:
    """A codec's table."""

    codec: str
    qualities: Sequence[int]
    rows: Sequence[ConditionRow]


@dataclass(frozen=True)
class ConditionsView:
    """What the section shows; no tables where no shift was asked for."""

    lead: str
    tables: Sequence[ConditionTable]


def conditions_view(evidence: Evidence, texts: Texts) -> ConditionsView:
    """The table of shifts and qualities, and in one sentence what is lost first."""
    rows = evidence.shifts
    if not rows:
        return ConditionsView(texts("conditions.none"), [])
    lost = first_lost(rows)
    codecs = dict.fromkeys(row.codec for row in rows if row.quality is not None)
    tables = [_table(codec, rows, lost, texts) for codec in codecs]
    return ConditionsView(_lead(lost, evidence, texts), tables)


def _lead(lost: ShiftRow | None, evidence: Evidence, texts: Texts) -> str:
    detector = detector_name(evidence.decision.kpi.detector, texts)
    frames = evidence.shifts[0].frames
    if lost is None:
        return texts("conditions.nothing_lost", detector=detector, frames=frames)
    coded = texts("conditions.uncompressed")
    if lost.quality is not None:
        coded = texts("conditions.compressed", codec=lost.codec, quality=lost.quality)
    return texts(
        "conditions.first_lost",
        detector=detector,
        frames=frames,
        shift=_name(lost, texts),
        coded=coded,
        recall=percent(lost.recall.value),
        far=percent(lost.false_alarm_rate.value),
        blame=texts(f"blame.{lost.culprit}"),
    )


def _table(codec: str, rows: Sequence[ShiftRow], lost: ShiftRow | None, texts: Texts) -> ConditionTable:
    qualities = sorted({row.quality for row in rows if row.codec == codec and row.quality is not None}, reverse=True)
    at = {(row.shift, row.step, row.quality): row for row in rows if row.quality is None or row.codec == codec}
    steps = list(dict.fromkeys((row.shift, row.step) for row in rows))
    table, previous = [], ""
    for shift, step in steps:
        found = [at.get((shift, step, quality)) for quality in (None, *qualities)]
        named = next(row for row in rows if (row.shift, row.step) == (shift, step))
        cells = [_cell(row, lost, texts) for row in found]
        table.append(ConditionRow(_name(named, texts), shift != previous, cells))
        previous = shift
    return ConditionTable(codec, qualities, table)


def _cell(row: ShiftRow | None, lost: ShiftRow | None, texts: Texts) -> Cell | None:
    if row is None:
        return None
    return Cell(row.recall, row.false_alarm_rate.value, row.culprit, texts(f"culprit.{row.culprit}"), row == lost)


def _name(row: ShiftRow, texts: Texts) -> str:
    """`Exposure ±0.5 stops`; a shift without a text keeps its own name."""
    amount = f"{row.amount:g}"
    if f"shift.{row.shift}" in texts.entries:
        return texts(f"shift.{row.shift}", amount=amount)
    return f"{row.shift} {amount} {row.unit}"
