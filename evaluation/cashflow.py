"""From assumptions and an effect per frame to money per month over the horizon. Judges nothing.

Months count from 1. Storage is billed for what is kept on average in a month, so that savings grow until the
retention is reached; frames stored before the plan began stay as they are and count on neither side. docs/roi.md
has the formulas.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.outcome import Effect
from evaluation.roi_config import RoiSettings, Stage

GB = 1e9
"""Bytes that are billed as one GB."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cashflow:
    """Money per month, arrays `(months,)` or `(draws, months)`; savings and costs are positive as they are named.

    `invested` is paid at the beginning of its month, all else at the end.
    """

    storage_saved: Floats
    transfer_saved: Floats
    escapes_cost: Floats
    false_alarms_cost: Floats
    running_cost: Floats
    invested: Floats

    @property
    def net(self) -> Floats:
        """Savings less costs of each month, without what is invested."""
        saved = self.storage_saved + self.transfer_saved
        return saved - self.escapes_cost - self.false_alarms_cost - self.running_cost

    @property
    def cash(self) -> Floats:
        """`(…, months + 1)`: what flows at the ends of months 0 (the start) to the last."""
        paid = np.append(-self.invested, 0.0)
        net = self.net
        return paid + np.concatenate([np.zeros((*net.shape[:-1], 1)), net], axis=-1)


def frames_per_month(settings: RoiSettings) -> float:
    return settings.plant.frames_per_day * settings.plant.operating_days_per_year / 12


def cashflow(settings: RoiSettings, effect: Effect, cost_factor: float = 1.0) -> Cashflow:
    """The money of each month of the horizon. `cost_factor` multiplies all costs of the stages."""
    stages = stage_of_month(settings)
    share = np.array([stage.share_of_frames for stage in stages])
    judged = np.array([stage.share_of_frames if stage.verdict_on == "decoded" else 0.0 for stage in stages])
    frames = frames_per_month(settings)
    defects = settings.plant.defect_prevalence
    saved_gb = at_prevalence(effect.saved_defective, effect.saved_good, settings) * frames / GB
    kept = months_kept(share, settings.storage.retention_months) * settings.storage.replicas
    escapes = np.asarray(effect.recall_loss) * frames * defects * settings.plant.cost_of_escape
    alarms = np.asarray(effect.false_alarm_rise) * frames * (1 - defects) * settings.plant.cost_of_false_alarm
    starts = {stage.start_month - 1: stage.hardware + stage.setup for stage in settings.rollout.stages}
    return Cashflow(
        storage_saved=np.multiply.outer(saved_gb, kept * settings.storage.price_per_gb_month),
        transfer_saved=np.multiply.outer(saved_gb, share * settings.link.price_per_gb),
        escapes_cost=np.multiply.outer(escapes, judged),
        false_alarms_cost=np.multiply.outer(alarms, judged),
        running_cost=cost_factor * np.array([s.licences_per_year / 12 + s.running_per_month for s in stages]),
        invested=cost_factor * np.array([starts.get(month, 0.0) for month in range(len(stages))]),
    )


def at_prevalence(defective: float | Floats, good: float | Floats, settings: RoiSettings) -> Floats:
    """The mean over the plant's frames of something known for defective and for good ones."""
    share = settings.plant.defect_prevalence
    return share * np.asarray(defective) + (1 - share) * np.asarray(good)


def months_kept(share: Floats, retention: float) -> Floats:
    """How many months' worth of frames are kept compressed, on average in each month; `share` `(months,)`."""
    written = np.concatenate([[0.0], np.cumsum(share)])
    ends = np.arange(len(written), dtype=np.float64)
    at_end = written - np.interp(ends - retention, ends, written)
    return (at_end[:-1] + at_end[1:]) / 2


def stage_of_month(settings: RoiSettings) -> list[Stage]:
    """The stage in force in each month of the horizon."""
    stages = settings.rollout.stages
    return [
        next(stage for stage in reversed(stages) if stage.start_month <= month)
        for month in range(1, settings.horizon_months + 1)
    ]


def monthly_rate(settings: RoiSettings) -> float:
    """The discount rate per month that compounds to the yearly one."""
    return (1 + settings.finance.discount_rate) ** (1 / 12) - 1


def present_value(cash: Floats, settings: RoiSettings) -> Floats:
    """Net present value of `cash` `(…, months + 1)` at the start of the plan."""
    return cash @ (1 + monthly_rate(settings)) ** -np.arange(cash.shape[-1], dtype=np.float64)
