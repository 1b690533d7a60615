"""What compression is worth to the plant, how sure that is, and what would change it.

Money follows from the plant's assumptions (`roi_config`) and from measured frames (`outcome`). Draws nothing.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy_financial as npf
from numpy.typing import NDArray

from evaluation.cashflow import (
    Cashflow,
    at_prevalence,
    cashflow,
    frames_per_month,
    present_value,
    stage_of_month,
)
from evaluation.outcome import Effect, Measured, Outcome, measure
from evaluation.roi_config import LEVERS, STAGES, RoiSettings, example_settings, is_example

Floats = NDArray[np.float64]

_MOST = 0.5
"""The largest share of defective frames that a break-even is looked for at."""

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
COMPONENTS = ("storage", "transfer", "escapes", "false_alarms", "running")
"""What a month's savings are made of, in the order in which they are shown."""


@dataclass(frozen=True)
class Answer:
    """A figure; or None and why there is none: a name that the report's catalogues know as `roi.why_NAME`."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Traffic:
    """What is sent and kept, today or once the last stage is in force. Bytes; money and bytes per month.

    `kept_at_end`: at the end of the horizon, of frames taken since the plan began, all copies; `kept_for_good`:
    once the retention is reached. `link_load`: share of the link's capacity in its hours; above 1 it cannot keep up.
    """

    bytes_per_frame: float
    sent: float
    sent_cost: float
    kept_at_end: float
    kept_at_end_cost: float
    kept_for_good: float
    kept_for_good_cost: float
    link_load: float

    @property
    def keeps_up(self) -> bool:
        return self.link_load <= 1


@dataclass(frozen=True)
class Case:
    """The plan under one effect of compression.

    `recall_loss`, `false_alarm_rise`: shares of one. `escapes`, `false_alarms`: more of them per month, once the last
    stage is in force. `components`: money of the horizon's last month by `COMPONENTS`, costs below zero; their sum
    is `monthly_savings`. `payback`: the month after whose end the plan never is in the red again, undiscounted.
    `irr`: per year. `break_even`: the share of defective frames at which the NPV is zero; `pays_below`: it pays
    below that share.
    `cumulative`: `(months + 1,)`, undiscounted, from the start on.
    """

    recall_loss: Answer
    false_alarm_rise: Answer
    escapes: Answer
    false_alarms: Answer
    components: dict[str, Answer]
    monthly_savings: Answer
    npv: Answer
    payback: Answer
    irr: Answer
    break_even: Answer
    pays_below: bool
    cumulative: Floats


@dataclass(frozen=True)
class Swing:
    """What one assumption, or one figure that was `measured`, does to the NPV at its lowest and highest value."""

    name: str
    measured: bool
    low: float
    high: float
    npv_low: float
    npv_high: float

    @property
    def width(self) -> float:
        return abs(self.npv_high - self.npv_low)


@dataclass(frozen=True)
class Assumption:
    """A setting, and whether it still is the packaged example's."""

    name: str
    value: float
    example: bool


@dataclass(frozen=True)
class StageRow:
    """A stage from its first to its last month: what is paid once and per month, and what it adds to the cash.

    `adds` is all of its months together, undiscounted; `cumulative` is where the plan stands when it ends.
    """

    name: str
    first_month: int
    last_month: int
    share_of_frames: float
    verdict_on: str
    paid_once: float
    paid_per_month: float
    adds: Answer
    cumulative: Answer


@dataclass(frozen=True)
class Economics:
    """All that the report says of money.

    `expected` is as measured; `pessimistic` takes recall loss and rise of false alarms at the upper ends of their
    95 % intervals. `npv_draws` `(d,)`: sorted, what the evidence allows (`evaluation.outcome`); empty where a class
    has no frames. `pays`: their share above zero. `npv_quantiles`: at `QUANTILES`. `band`: `(2, months + 1)`, the
    2.5 % and 97.5 % quantiles of the cumulative cash. `tornado`: the widest swing first. `example`: all assumptions
    are the packaged example's.
    """

    settings: RoiSettings
    example: bool
    measured: Measured
    assumptions: tuple[Assumption, ...]
    before: Traffic
    after: Traffic
    expected: Case
    pessimistic: Case
    pays: Answer
    npv_quantiles: tuple[float, ...]
    npv_draws: Floats
    band: Floats
    tornado: tuple[Swing, ...]
    stages: tuple[StageRow, ...]


def economics(settings: RoiSettings, outcome: Outcome) -> Economics:
    """Work everything out for one codec and quality. The same input gives the same output."""
    measured = measure(outcome)
    missing = _missing(measured)
    flow = cashflow(settings, measured.effect)
    draws = np.empty(0)
    band = np.empty((2, 0))
    if not missing:
        drawn = cashflow(settings, measured.draws).cash
        draws = np.sort(present_value(drawn, settings))
        band = np.quantile(np.cumsum(drawn, axis=1), [0.025, 0.975], axis=0)
    before, after = _traffic(settings, measured)
    return Economics(
        settings=settings,
        example=is_example(settings),
        measured=measured,
        assumptions=_assumptions(settings),
        before=before,
        after=after,
        expected=_case(settings, measured.effect, missing),
        pessimistic=_case(settings, _pessimistic(measured), missing),
        pays=Answer(None, missing) if missing else Answer(float((draws > 0).mean())),
        npv_quantiles=() if missing else tuple(float(q) for q in np.quantile(draws, QUANTILES)),
        npv_draws=draws,
        band=band,
        tornado=() if missing else _tornado(settings, measured),
        stages=_stage_rows(settings, flow, missing),
    )


def summary(economics: Economics) -> dict[str, Any]:
    """The figures as plain numbers for `summary.json`; None where there is no figure."""
    return {
        "currency": economics.settings.currency,
        "example_assumptions": economics.example,
        "bytes_per_frame": {"before": economics.before.bytes_per_frame, "after": economics.after.bytes_per_frame},
        "link_load": {"before": economics.before.link_load, "after": economics.after.link_load},
        "expected": _case_summary(economics.expected),
        "pessimistic": _case_summary(economics.pessimistic),
        "probability_that_it_pays": economics.pays.value,
        "npv_quantiles": {f"{q:g}": v for q, v in zip(QUANTILES, economics.npv_quantiles, strict=False)},
        "tornado": [
            {"name": s.name, "low": s.low, "high": s.high, "npv_low": s.npv_low, "npv_high": s.npv_high}
            for s in economics.tornado
        ],
    }


def payback_month(cash: Floats) -> Answer:
    """The month after whose end the sum of `cash` `(months + 1,)` is never below zero again."""
    total = np.cumsum(cash)
    if not (cash < 0).any():
        return Answer(None, "no_investment")
    if total[-1] <= 0:
        return Answer(None, "never")
    return Answer(float(np.flatnonzero(total < 0)[-1] + 1) if (total < 0).any() else 0.0)


def yearly_irr(cash: Floats) -> Answer:
    """The yearly rate at which `cash` `(months + 1,)` is worth nothing today, where exactly one rate is.

    It is where the sum changes its sign once (C. J. Norstrom, J. Financ. Quant. Anal. 7 (1972) 1835).
    """
    total = np.cumsum(cash)
    if not (cash < 0).any():
        return Answer(None, "no_investment")
    if total[-1] <= 0:
        return Answer(None, "never")
    signs = np.sign(total[total != 0])
    if (np.diff(signs) != 0).sum() != 1:
        return Answer(None, "several_rates")
    rate = (1 + float(npf.irr(cash))) ** 12 - 1
    return Answer(rate) if math.isfinite(rate) else Answer(None, "several_rates")


def _missing(measured: Measured) -> str:
    if not measured.defective.frames:
        return "no_defective"
    return "" if measured.good.frames else "no_good"


def _pessimistic(measured: Measured) -> Effect:
    return replace(
        measured.effect,
        recall_loss=measured.defective.change.high,
        false_alarm_rise=measured.good.change.high,
    )


def _case(settings: RoiSettings, effect: Effect, missing: str) -> Case:
    flow = cashflow(settings, effect)
    cash = flow.cash
    if missing:
        nothing = Answer(None, missing)
        npv = payback = irr = break_even = nothing
        pays_below = False
    else:
        npv = Answer(float(present_value(cash, settings)))
        payback, irr = payback_month(cash), yearly_irr(cash)
        break_even, pays_below = _break_even(settings, effect)
    last = settings.rollout.edge
    judged = frames_per_month(settings) * last.share_of_frames * (last.verdict_on == "decoded")
    defects = settings.plant.defect_prevalence
    components = {
        "storage": flow.storage_saved,
        "transfer": flow.transfer_saved,
        "escapes": -flow.escapes_cost,
        "false_alarms": -flow.false_alarms_cost,
        "running": -flow.running_cost,
    }
    return Case(
        recall_loss=_known(effect.recall_loss, "no_defective"),
        false_alarm_rise=_known(effect.false_alarm_rise, "no_good"),
        escapes=_known(judged * defects * np.asarray(effect.recall_loss), "no_defective"),
        false_alarms=_known(judged * (1 - defects) * np.asarray(effect.false_alarm_rise), "no_good"),
        components={name: _known(components[name][-1], missing) for name in COMPONENTS},
        monthly_savings=_known(flow.net[-1], missing),
        npv=npv,
        payback=payback,
        irr=irr,
        break_even=break_even,
        pays_below=pays_below,
        cumulative=np.cumsum(cash),
    )


def _known(value: float | Floats, reason: str) -> Answer:
    number = float(value)
    return Answer(None, reason) if math.isnan(number) else Answer(number + 0.0)


def _npv(settings: RoiSettings, effect: Effect, cost_factor: float = 1.0) -> float:
    return float(present_value(cashflow(settings, effect, cost_factor).cash, settings))


def _break_even(settings: RoiSettings, effect: Effect) -> tuple[Answer, bool]:
    """Where the NPV, a straight line over the share of defective frames, crosses zero; whether it pays below."""
    none, most = (_npv(settings.varied("defect_prevalence", share), effect) for share in (0.0, _MOST))
    if min(none, most) > 0:
        return Answer(None, "pays_always"), False
    if max(none, most) <= 0:
        return Answer(None, "pays_nowhere"), False
    return Answer(_MOST * none / (none - most)), none > most


def _tornado(settings: RoiSettings, measured: Measured) -> tuple[Swing, ...]:
    effect = measured.effect
    swings = []
    for name in LEVERS:
        low, high = settings.range_of(name)
        ends = [_npv(settings.varied(name, value), effect) for value in (low, high)]
        swings.append(Swing(name, False, low, high, *ends))
    low, high = settings.range_of("rollout_costs")
    swings.append(Swing("rollout_costs", False, low, high, *(_npv(settings, effect, f) for f in (low, high))))
    for name, side in (("recall_loss", measured.defective), ("false_alarm_rise", measured.good)):
        ends = [_npv(settings, replace(effect, **{name: limit})) for limit in side.change[1:]]
        swings.append(Swing(name, True, side.change.low, side.change.high, *ends))
    swings.append(_size_swing(settings, measured))
    return tuple(sorted(swings, key=lambda swing: -swing.width))


def _size_swing(settings: RoiSettings, measured: Measured) -> Swing:
    """The coded bytes per frame over the 95 % of the draws, the originals' held."""
    original = _mean(settings, measured.defective.original_bytes, measured.good.original_bytes)
    draws = at_prevalence(measured.draws.saved_defective, measured.draws.saved_good, settings)
    low, high = (original - float(saved) for saved in np.quantile(draws, [0.975, 0.025]))
    ends = [
        _npv(settings, replace(measured.effect, saved_defective=original - size, saved_good=original - size))
        for size in (low, high)
    ]
    return Swing("coded_bytes", True, low, high, *ends)


def _traffic(settings: RoiSettings, measured: Measured) -> tuple[Traffic, Traffic]:
    original = _mean(settings, measured.defective.original_bytes, measured.good.original_bytes)
    coded = _mean(settings, measured.defective.coded_bytes, measured.good.coded_bytes)
    shares = np.array([stage.share_of_frames for stage in stage_of_month(settings)])
    last = settings.rollout.edge.share_of_frames
    retention = settings.storage.retention_months
    at_end = min(settings.horizon_months, retention) * original
    written = np.concatenate([[0.0], np.cumsum(shares)])
    compressed = float(written[-1] - written[max(0, len(shares) - retention)])
    mixed = last * coded + (1 - last) * original
    before = _traffic_of(settings, original, at_end)
    after = _traffic_of(settings, mixed, at_end - compressed * (original - coded))
    return before, after


def _traffic_of(settings: RoiSettings, per_frame: float, frame_months: float) -> Traffic:
    """`frame_months`: bytes kept at the end of the horizon for one frame taken in each month."""
    frames, copies = frames_per_month(settings), settings.storage.replicas
    sent, at_end = frames * per_frame, frames * frame_months * copies
    for_good = sent * settings.storage.retention_months * copies
    price, link = settings.storage.price_per_gb_month / 1e9, settings.link
    capacity = link.speed_mbit_s * 1e6 / 8 * link.hours_per_day * 3600
    return Traffic(
        bytes_per_frame=per_frame,
        sent=sent,
        sent_cost=sent * link.price_per_gb / 1e9,
        kept_at_end=at_end,
        kept_at_end_cost=at_end * price,
        kept_for_good=for_good,
        kept_for_good_cost=for_good * price,
        link_load=settings.plant.frames_per_day * per_frame / capacity,
    )


def _mean(settings: RoiSettings, defective: float, good: float) -> float:
    return float(at_prevalence(defective, good, settings))


def _assumptions(settings: RoiSettings) -> tuple[Assumption, ...]:
    """All settings of the plant, its storage, link and finance, in the file's order."""
    example = example_settings()
    same_money = settings.currency == example.currency
    return tuple(
        Assumption(name, value, same_money and value == getattr(getattr(example, section), name))
        for section in ("plant", "storage", "link", "finance")
        for name, value in getattr(settings, section)
    )


def _stage_rows(settings: RoiSettings, flow: Cashflow, missing: str) -> tuple[StageRow, ...]:
    monthly = flow.net - flow.invested
    total = np.cumsum(monthly)
    starts = [stage.start_month for stage in settings.rollout.stages]
    ends = [start - 1 for start in starts[1:]] + [settings.horizon_months]
    return tuple(
        StageRow(
            name=name,
            first_month=start,
            last_month=end,
            share_of_frames=stage.share_of_frames,
            verdict_on=stage.verdict_on,
            paid_once=stage.hardware + stage.setup,
            paid_per_month=stage.licences_per_year / 12 + stage.running_per_month,
            adds=_known(monthly[start - 1 : end].sum(), missing),
            cumulative=_known(total[end - 1], missing),
        )
        for name, stage, start, end in zip(STAGES, settings.rollout.stages, starts, ends, strict=True)
    )


def _case_summary(case: Case) -> dict[str, Any]:
    names = ("recall_loss", "false_alarm_rise", "escapes", "false_alarms", "monthly_savings")
    figures = {name: getattr(case, name).value for name in (*names, "npv", "payback", "irr", "break_even")}
    return figures | {"components": {name: answer.value for name, answer in case.components.items()}}
