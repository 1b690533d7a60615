"""The settings of a pilot, from a TOML file or the defaults. Unknown settings are refused, not ignored.

codecs = ["qarv", "jpeg"]          # the decision is about the first; the others are for comparison
qualities = [10, 30, 60, 90]
detectors = ["classifier", "anomaly"]  # the decision rests on the first that can be trained
target_false_alarm_rate = 0.05     # of the originals, on the calibration split
recall_margin = 0.05               # the largest loss of recall that is acceptable
false_alarm_margin = 0.05          # the largest rise of the false-alarm rate that is acceptable
seed = 0
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from inspect_compress.settings import Settings, read_settings


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return values


Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)]
Qualities = Annotated[tuple[Annotated[int, Field(ge=1, le=100)], ...], Field(min_length=1), AfterValidator(_distinct)]
Share = Annotated[float, Field(gt=0, lt=1)]


class PilotConfig(Settings):
    """What is swept, how thresholds are fixed, and which losses are acceptable."""

    codecs: Names = ("qarv", "jpeg", "jxl")
    qualities: Qualities = (10, 30, 60, 90)
    detectors: Names = ("classifier", "anomaly")
    target_false_alarm_rate: Share = 0.05
    recall_margin: Share = 0.05
    false_alarm_margin: Share = 0.05
    seed: Annotated[int, Field(ge=0)] = 0


def read_pilot_config(path: Path) -> PilotConfig:
    """Read the settings. Raises ConfigError that names the file and the setting."""
    return read_settings(path, PilotConfig)
