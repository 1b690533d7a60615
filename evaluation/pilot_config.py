"""The settings of a pilot, from a TOML file or the defaults. Unknown settings are refused, not ignored.

codecs = ["qarv", "jpeg"]          # the decision is about the first; the others are for comparison
model = ""                         # fingerprint of the first codec's model; empty: its default; docs/models.md
qualities = [10, 30, 60, 90]
detectors = ["classifier", "anomaly"]  # the decision rests on the first that can be trained
scenarios = ["frozen", "adapted", "aware"]  # how detectors are trained; see docs/scenarios.md
train_frames = 2000                # most frames that a detector learns from, in every scenario
target_false_alarm_rate = 0.05     # where thresholds are fixed, on the calibration split
recall_margin = 0.05               # the largest loss of recall that is acceptable
false_alarm_margin = 0.05          # the largest rise of the false-alarm rate that is acceptable
alpha = 0.025                      # the chance of calling a rate safe that is not, one-sided
seed = 0
shifts = []                        # what the first codec is tried under as well, e.g. ["exposure"]; docs/shifts.md
shift_frames = 120                 # test frames for that, good and defective in equal numbers where there are

A detector may be an ONNX file, `"models/mine.onnx"`, its path relative to this file (docs/detectors.md).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from evaluation.shifts import SHIFTS
from inspect_compress.codecs import Codec, load_codec
from inspect_compress.settings import Settings, read_settings
from pipelines.config import model_beside_the_file
from pipelines.detectors import short_name

SCENARIOS: tuple[Literal["frozen", "adapted", "aware"], ...] = ("frozen", "adapted", "aware")


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return values


def _detectors(values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    names = [short_name(value) for value in values]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"has two detectors of the name {name}; rename a file, tables could not tell them apart")
    return tuple(model_beside_the_file(value, info) for value in values)


def _shifts(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _distinct(values):
        if value not in SHIFTS:
            raise ValueError(f"names {value!r}; known: {', '.join(SHIFTS)}")
    return values


def _with_frozen(values: tuple[str, ...]) -> tuple[str, ...]:
    if SCENARIOS[0] not in values:
        raise ValueError(f"lacks {SCENARIOS[0]!r}, which all others are compared with")
    return tuple(name for name in SCENARIOS if name in _distinct(values))


Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)]
Qualities = Annotated[tuple[Annotated[int, Field(ge=1, le=100)], ...], Field(min_length=1), AfterValidator(_distinct)]
Scenarios = Annotated[tuple[Literal["frozen", "adapted", "aware"], ...], AfterValidator(_with_frozen)]
Share = Annotated[float, Field(gt=0, lt=1)]


class PilotConfig(Settings):
    """What is swept, how thresholds are fixed, and which losses are acceptable."""

    codecs: Names = ("qarv", "jpeg", "jxl")
    model: str = ""
    qualities: Qualities = (10, 30, 60, 90)
    detectors: Annotated[Names, AfterValidator(_detectors)] = ("classifier", "anomaly")
    scenarios: Scenarios = SCENARIOS
    train_frames: Annotated[int, Field(ge=50)] = 2000
    target_false_alarm_rate: Share = 0.05
    recall_margin: Share = 0.05
    false_alarm_margin: Share = 0.05
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.025
    seed: Annotated[int, Field(ge=0)] = 0
    shifts: Annotated[tuple[str, ...], AfterValidator(_shifts)] = ()
    shift_frames: Annotated[int, Field(ge=2)] = 120


def load_codecs(config: PilotConfig) -> list[Codec]:
    """The codecs in their order, the first with the model that is asked for. Raises as `load_codec`."""
    first, *others = config.codecs
    return [load_codec(first, model=config.model), *map(load_codec, others)]


def read_pilot_config(path: Path) -> PilotConfig:
    """Read the settings. Raises ConfigError that names the file and the setting."""
    return read_settings(path, PilotConfig)
