"""A small plant whose money can be worked out by hand, and outcomes of as many frames as a test wants."""

from typing import Any

import numpy as np

from evaluation.outcome import Outcome
from evaluation.roi_config import RoiSettings

FREE = {"hardware": 0, "setup": 0, "licences_per_year": 0, "running_per_month": 0, "verdict_on": "decoded"}
PLANT: dict[str, Any] = {
    "currency": "JPY",
    "plant": {
        "frames_per_day": 10_000,
        "operating_days_per_year": 120,  # 100,000 frames a month
        "defect_prevalence": 0.01,
        "cost_of_escape": 5,
        "cost_of_false_alarm": 0.1,
    },
    "storage": {"price_per_gb_month": 10, "replicas": 2, "retention_months": 3},
    "link": {"speed_mbit_s": 8, "hours_per_day": 10, "price_per_gb": 1},
    "finance": {"discount_rate": 0.05, "horizon_years": 1},
    "rollout": {
        "pilot": {**FREE, "start_month": 1, "share_of_frames": 0, "setup": 1000},
        "cloud": {**FREE, "start_month": 2, "share_of_frames": 0.5, "hardware": 500, "running_per_month": 30},
        "edge": {**FREE, "start_month": 3, "share_of_frames": 1, "hardware": 2000, "licences_per_year": 600},
    },
    "sensitivity": {"percent": 10, "cost_of_escape": [1, 100_000]},
}


def make_settings(**changes: dict[str, Any]) -> RoiSettings:
    """The plant, with some values of its sections changed; those of all stages alike by `stages`."""
    stages = changes.pop("stages", {})
    values = {
        name: section | changes.get(name, {}) if isinstance(section, dict) else section
        for name, section in PLANT.items()
    }
    values["rollout"] = {name: stage | stages for name, stage in values["rollout"].items()}
    return RoiSettings.model_validate(values)


def make_outcome(
    defective: int = 100,
    good: int = 100,
    *,
    lost: int = 0,
    gained: int = 0,
    added: int = 0,
    removed: int = 0,
    original: int = 1_000_000,
    coded: int = 100_000,
    groups: np.ndarray | None = None,
) -> Outcome:
    """Frames of one size each; all else is judged rightly before and after."""
    truth = np.arange(defective + good) < defective
    before, after = truth.copy(), truth.copy()
    after[:lost] = False
    before[lost : lost + gained] = False
    after[defective : defective + added] = True
    before[defective + added : defective + added + removed] = True
    sizes = np.ones(len(truth), np.int64)
    return Outcome(original * sizes, coded * sizes, truth, before, after, groups)
