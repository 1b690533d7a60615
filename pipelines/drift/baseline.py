"""Baselines for the watches: from a pilot's tables, or what earlier runs of the line learned. It compares nothing.

A pilot is read by its files, as docs/report.md describes them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pydantic import ValidationError

from inspect_compress.errors import ConfigError
from inspect_compress.files import read_file, write_file
from inspect_compress.settings import Settings

RESULTS = "results.parquet"
IDENTICAL = 200.0
"""dB; stands for the PSNR of a frame that equals its original, which is infinite. No other frame comes near it."""
FEWEST = 30
"""Good test frames that a pilot must have for a baseline."""


class Watched(NamedTuple):
    """What is watched: `bpp`, `fidelity` or `scores`; of which setting of a codec, or which detector."""

    what: str
    of: str


class WatchState(Settings):
    """What is kept of a watch between runs; of one with a pilot's baseline, not the baseline."""

    what: str
    of: str
    baseline: tuple[float, ...]
    window: tuple[float, ...]
    departed: bool


class _State(Settings):
    watches: tuple[WatchState, ...]


def setting_name(codec: str, model: str, quality: int) -> str:
    """A codec's setting as alarms name it."""
    return f"{codec} {model} at quality {quality}" if model else f"{codec} at quality {quality}"


def pilot_baselines(
    pilot: Path, codec: str, model: str, quality: int, detector: str
) -> Mapping[Watched, Sequence[float]]:
    """Values of a pilot's good test frames: bpp and PSNR at each of its qualities, scores at the line's.

    `detector` is empty where the line has none. Raises ConfigError where the pilot did not measure what the line
    does.
    """
    table = _results(pilot, detector)
    table = table[(table["codec"] == codec) & (table["model"] == model) & (table["defect"] == "")]
    measured = sorted(set(table["quality"]))
    if quality not in measured:
        known = ", ".join(map(str, measured)) or "none"
        raise ConfigError(
            f"{pilot}: the pilot has not measured {setting_name(codec, model, quality)}; it has qualities: {known}; "
            "take one of these, or leave pilot out of [drift] to learn from the line's first frames"
        )
    found: dict[Watched, Sequence[float]] = {}
    for each in measured:
        rows, name = table[table["quality"] == each], setting_name(codec, model, int(each))
        found[Watched("bpp", name)] = rows["bpp"].tolist()
        found[Watched("fidelity", name)] = rows["psnr"].fillna(IDENTICAL).tolist()
    if detector:
        found[Watched("scores", detector)] = table.loc[table["quality"] == quality, f"score_{detector}"].tolist()
    frames = int((table["quality"] == quality).sum())
    if frames < FEWEST:
        raise ConfigError(f"{pilot}: has {frames} good test frames, and a baseline needs {FEWEST}; leave pilot out")
    return found


def read_state(path: Path) -> list[WatchState]:
    """What earlier runs left; nothing where there is no file. Raises ConfigError where it is damaged."""
    if not path.exists():
        return []
    try:
        return list(_State.model_validate(json.loads(read_file(path))).watches)
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ConfigError(f"{path}: is not what drift left there; a new baseline is learned") from error


def write_state(path: Path, watches: Sequence[WatchState]) -> None:
    """Keep what was learned. Raises OutputError."""
    write_file(path, _State(watches=tuple(watches)).model_dump_json().encode(), overwrite=True)


def _results(pilot: Path, detector: str) -> pd.DataFrame:
    path = pilot / RESULTS
    columns = ["codec", "model", "quality", "defect", "bpp", "psnr"]
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{pilot}: is not a pilot's folder: it holds no {RESULTS}") from error
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise ConfigError(f"{path}: is no Parquet table; run the pilot again") from error
    if missing := [name for name in columns if name not in table.columns]:
        raise ConfigError(f"{path}: is not a pilot's table: it has no column {missing[0]}")
    if detector and f"score_{detector}" not in table.columns:
        raise ConfigError(f"{pilot}: the pilot has not tried the detector {detector}; name the pilot that has")
    return table
