"""The plant's prices and plans, from `roi.toml`: what the return on investment is worked out from. Computes nothing.

`evaluation/roi.toml` is a commented example; a plant copies it and replaces its values.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from inspect_compress.settings import Settings, read_settings

EXAMPLE = Path(__file__).with_name("roi.toml")
"""The packaged example."""

STAGES = ("pilot", "cloud", "edge")
"""The stages of the roll-out, in their order."""

Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Months = Annotated[int, Field(ge=1, le=1200)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Plant(Settings):
    """How much is inspected, how often it is defective, and what a wrong verdict costs (money per frame)."""

    frames_per_day: Positive
    operating_days_per_year: Annotated[float, Field(gt=0, le=366)]
    defect_prevalence: Share
    cost_of_escape: Money
    cost_of_false_alarm: Money


class Storage(Settings):
    """What it costs to keep a frame, and for how long."""

    price_per_gb_month: Money
    replicas: Annotated[int, Field(ge=1)]
    retention_months: Months


class Link(Settings):
    """What the line to the archive carries, and what it costs."""

    speed_mbit_s: Positive
    hours_per_day: Annotated[float, Field(gt=0, le=24)]
    price_per_gb: Money


class Finance(Settings):
    """How the plant judges an investment."""

    discount_rate: Annotated[float, Field(ge=0, lt=1)]
    horizon_years: Annotated[int, Field(ge=1, le=30)]


class Stage(Settings):
    """A stage of the roll-out: when it begins, how many frames it touches, and what it costs."""

    start_month: Months
    share_of_frames: Share
    verdict_on: Literal["original", "decoded"]
    hardware: Money
    setup: Money
    licences_per_year: Money
    running_per_month: Money


class Rollout(Settings):
    """The stages; each begins after the one before, and the first in month 1."""

    pilot: Stage
    cloud: Stage
    edge: Stage

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(getattr(self, name) for name in STAGES)

    @model_validator(mode="after")
    def _in_order(self) -> "Rollout":
        starts = [stage.start_month for stage in self.stages]
        if starts[0] != 1:
            raise ValueError(f"the plan starts with the pilot, so its start_month has to be 1, but is {starts[0]}")
        if not starts[0] < starts[1] < starts[2]:
            raise ValueError(
                "start_month has to rise from pilot to cloud to edge, but they are "
                f"{starts[0]}, {starts[1]} and {starts[2]}"
            )
        return self


Range = tuple[Finite, Finite]


class Sensitivity(Settings):
    """How far assumptions might be off: a range each, or `percent` up and down.

    `rollout_costs` is a multiple of all costs of the stages together.
    """

    percent: Annotated[float, Field(ge=0, le=100)]
    frames_per_day: Range | None = None
    defect_prevalence: Range | None = None
    cost_of_escape: Range | None = None
    cost_of_false_alarm: Range | None = None
    price_per_gb_month: Range | None = None
    retention_months: Range | None = None
    price_per_gb: Range | None = None
    discount_rate: Range | None = None
    rollout_costs: Range | None = None


LEVERS = {
    "frames_per_day": "plant",
    "defect_prevalence": "plant",
    "cost_of_escape": "plant",
    "cost_of_false_alarm": "plant",
    "price_per_gb_month": "storage",
    "retention_months": "storage",
    "price_per_gb": "link",
    "discount_rate": "finance",
}
"""The settings that are varied one by one, and the section that each is in."""

_HIGHEST = {"defect_prevalence": 1.0, "discount_rate": 0.999}


class RoiSettings(Settings):
    """All assumptions. Money is in `currency`."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    plant: Plant
    storage: Storage
    link: Link
    finance: Finance
    rollout: Rollout
    sensitivity: Sensitivity

    @property
    def horizon_months(self) -> int:
        return 12 * self.finance.horizon_years

    def varied(self, name: str, value: float) -> "RoiSettings":
        """The same assumptions with another value of one of `LEVERS`."""
        section = getattr(self, LEVERS[name]).model_copy(update={name: value})
        return self.model_copy(update={LEVERS[name]: section})

    def range_of(self, name: str) -> tuple[float, float]:
        """The lowest and highest value of one of `LEVERS`, or of `rollout_costs`."""
        given: tuple[float, float] | None = getattr(self.sensitivity, name)
        if given is not None:
            return given
        value = _value(dict(self), name)
        off = self.sensitivity.percent / 100
        return value * (1 - off), min(value * (1 + off), _HIGHEST.get(name, float("inf")))

    @field_validator("rollout")
    @classmethod
    def _within_the_horizon(cls, rollout: Rollout, info: ValidationInfo) -> Rollout:
        finance = info.data.get("finance")
        if finance and rollout.edge.start_month > 12 * finance.horizon_years:
            raise ValueError(
                f"the edge begins in month {rollout.edge.start_month}, after the horizon of "
                f"{finance.horizon_years} years; begin it earlier or raise horizon_years"
            )
        return rollout

    @field_validator("sensitivity")
    @classmethod
    def _ranges_hold_their_values(cls, sensitivity: Sensitivity, info: ValidationInfo) -> Sensitivity:
        for name in (*LEVERS, "rollout_costs"):
            limits = getattr(sensitivity, name)
            if limits is None or LEVERS.get(name, "rollout") not in info.data:
                continue
            value, highest = _value(info.data, name), _HIGHEST.get(name, float("inf"))
            if not 0 <= limits[0] <= value <= limits[1] <= highest:
                raise ValueError(
                    f"{name} has to be [lowest, highest] around {value:g} and not below 0"
                    f"{f' or above {highest:g}' if name in _HIGHEST else ''}, but is {list(limits)}"
                )
        return sensitivity


def read_roi_settings(path: Path) -> RoiSettings:
    """Read the assumptions. Raises ConfigError that names the file and the setting."""
    return read_settings(path, RoiSettings)


def example_settings() -> RoiSettings:
    """The assumptions of the packaged example."""
    return read_roi_settings(EXAMPLE)


def is_example(settings: RoiSettings) -> bool:
    """Whether every value is still the packaged example's."""
    return settings == example_settings()


def _value(sections: Mapping[str, Any], name: str) -> float:
    """The value of a lever; `sections` by name."""
    return 1.0 if name == "rollout_costs" else getattr(sections[LEVERS[name]], name)
