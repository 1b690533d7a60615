"""From frames under shifts to a table: what each shift takes from a detector, and what the codec takes on top.

A screening, not a test: many conditions on few frames, each with its interval, and no allowance for their number. The
intervals treat frames as independent of each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.decision import Margins
from evaluation.kpis import ORIGINAL
from evaluation.shift_sweep import PLAIN
from evaluation.shifts import SHIFTS
from evaluation.statistics import UNKNOWN, Estimate, paired_difference, proportion

Culprit = Literal["none", "shift", "codec", "both"]
Flags = NDArray[np.bool_]
_Condition = tuple[str, int]
"""A shift and its step."""
_Setting = tuple[str, int]
"""A codec and its quality."""
NO_SHIFT: _Condition = (PLAIN, 0)
UNCODED: _Setting = (ORIGINAL, 0)


@dataclass(frozen=True)
class ShiftRow:
    """One detector under one shift at one step, coded at one quality, or not coded (`codec` original, no quality).

    `amount` is in `unit`. `recall` and `false_alarm_rate` are those of the `frames` shifted and coded frames.

    Two paired differences of recall add up to the whole loss: `lost_by_shift`, the plain originals' recall minus that
    of the shifted originals, and `lost_by_codec`, the shifted originals' minus that of the shifted and coded frames.
    `alarms_by_shift` and `alarms_by_codec` are the rises of the false-alarm rate in the same two steps.
    `lost_by_codec_plain` and `alarms_by_codec_plain` are what the codec does to the same frames without any shift.

    `culprit` is `shift` or `codec` where that one's part is beyond a margin (`is_beyond`), in recall or in false
    alarms; `both` where both are, or where only their sum is; else `none`. `plain_holds`: the codec alone, at this
    quality and without a shift, is not beyond a margin.
    """

    shift: str
    step: int
    amount: float
    unit: str
    codec: str
    quality: int | None
    frames: int
    recall: Estimate
    false_alarm_rate: Estimate
    lost_by_shift: Estimate
    lost_by_codec: Estimate
    culprit: Culprit
    alarms_by_shift: Estimate = UNKNOWN
    alarms_by_codec: Estimate = UNKNOWN
    lost_by_codec_plain: Estimate = UNKNOWN
    alarms_by_codec_plain: Estimate = UNKNOWN
    plain_holds: bool = True


def shift_rows(table: pd.DataFrame, detector: str, margins: Margins) -> list[ShiftRow]:
    """A row per shift, step and quality for one detector; `table` is that of `sweep_shifts`.

    Shifts in the table's order, steps from 1, the uncoded frames first and then the best quality first. Unknown
    estimates (NaN), where a class has no frames, are never beyond a margin.
    """
    flags = _Flags(table, f"flag_{detector}")
    shifts = [name for name in table["shift"].unique() if name != PLAIN]
    return [
        _row(flags, (shift, step), (codec, quality), margins)
        for shift in shifts
        for step in range(1, len(SHIFTS[shift].amounts) + 1)
        for codec, quality in flags.settings
    ]


def first_lost(rows: Sequence[ShiftRow]) -> ShiftRow | None:
    """The condition that loses the detector first: the mildest step, then the best quality, then the largest part.

    Qualities that lose it without any shift are passed over: no shift is needed for that. Uncoded frames come before
    the best quality. None where no shift loses it.
    """
    lost = [row for row in rows if row.culprit != "none" and row.plain_holds]
    return min(lost, key=_order, default=None)


def is_beyond(difference: Estimate, margin: float) -> bool:
    """Whether a loss is both shown and too large: the interval lies above zero, and the value above the margin.

    The value and not the lower limit is held against the margin, since few frames would hide all but a collapse; and
    the interval keeps out what one or two frames more or less would undo.
    """
    return difference.low > 0 and difference.value > margin


class _Loss(NamedTuple):
    """How much recall fell, and how much the false-alarm rate rose, between two sights of the same frames."""

    recall: Estimate
    alarms: Estimate

    def is_beyond(self, margins: Margins) -> bool:
        return is_beyond(self.recall, margins.recall) or is_beyond(self.alarms, margins.false_alarms)


NO_LOSS = _Loss(Estimate(0.0, 0.0, 0.0), Estimate(0.0, 0.0, 0.0))
"""Of a codec where nothing was coded."""


class _Flags:
    """Which frames were called defective under each condition; all conditions hold the same frames."""

    def __init__(self, table: pd.DataFrame, column: str) -> None:
        keys = [table["shift"], table["step"], table["codec"], table["quality"].astype("Int64").fillna(0).astype(int)]
        self._rows = {key: rows.set_index("frame_id") for key, rows in table.groupby(keys, sort=False)}
        self._column = column
        plain = self._rows[PLAIN, 0, ORIGINAL, 0]
        self._frames = plain.index
        self.defective = (plain["defect"] != "").to_numpy()
        coded = {(codec, quality) for _, _, codec, quality in self._rows if codec != ORIGINAL}
        self.settings = [UNCODED, *sorted(coded, key=lambda setting: -setting[1])]

    def of(self, condition: _Condition, setting: _Setting) -> Flags:
        return self._rows[(*condition, *setting)][self._column].loc[self._frames].to_numpy(bool)

    def amount(self, condition: _Condition) -> float:
        return float(self._rows[(*condition, *UNCODED)]["amount"].iloc[0])


def _row(flags: _Flags, condition: _Condition, setting: _Setting, margins: Margins) -> ShiftRow:
    plain, seen, coded = flags.of(NO_SHIFT, UNCODED), flags.of(condition, UNCODED), flags.of(condition, setting)
    defective, is_coded = flags.defective, setting != UNCODED
    by_shift, whole = _loss(plain, seen, defective), _loss(plain, coded, defective)
    by_codec = _loss(seen, coded, defective) if is_coded else NO_LOSS
    without_shift = _loss(plain, flags.of(NO_SHIFT, setting), defective) if is_coded else NO_LOSS
    positives = int(defective.sum())
    shift = SHIFTS[condition[0]]
    return ShiftRow(
        shift=shift.name,
        step=condition[1],
        amount=flags.amount(condition),
        unit=shift.unit,
        codec=setting[0],
        quality=setting[1] if is_coded else None,
        frames=len(defective),
        recall=proportion(int((coded & defective).sum()), positives),
        false_alarm_rate=proportion(int((coded & ~defective).sum()), len(defective) - positives),
        lost_by_shift=by_shift.recall,
        lost_by_codec=by_codec.recall,
        culprit=_culprit(by_shift.is_beyond(margins), by_codec.is_beyond(margins), whole.is_beyond(margins)),
        alarms_by_shift=by_shift.alarms,
        alarms_by_codec=by_codec.alarms,
        lost_by_codec_plain=without_shift.recall,
        alarms_by_codec_plain=without_shift.alarms,
        plain_holds=not without_shift.is_beyond(margins),
    )


def _loss(before: Flags, after: Flags, defective: Flags) -> _Loss:
    lost, gained = before & ~after, after & ~before
    return _Loss(
        paired_difference(int((lost & defective).sum()), int((gained & defective).sum()), int(defective.sum())),
        paired_difference(int((gained & ~defective).sum()), int((lost & ~defective).sum()), int((~defective).sum())),
    )


def _culprit(shift: bool, codec: bool, whole: bool) -> Culprit:
    if shift != codec:
        return "shift" if shift else "codec"
    return "both" if shift or whole else "none"


def _order(row: ShiftRow) -> tuple[float, ...]:
    parts = (row.lost_by_shift, row.lost_by_codec, row.alarms_by_shift, row.alarms_by_codec)
    largest = max(part.value for part in parts if not math.isnan(part.value))
    return row.step, -math.inf if row.quality is None else -row.quality, -largest
