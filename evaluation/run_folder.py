"""A run's folder: which files it has, how they are written and read back, and their hashes. Computes no figure.

Measured files never change after the run. Assumptions are the plant's to edit. The rest is derived from both.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from evaluation.leakage import Leakage
from evaluation.manifest import Manifest, read_manifest
from evaluation.pilot_config import PilotConfig, read_pilot_config
from evaluation.roi_config import RoiSettings, read_roi_settings
from evaluation.scored import Scored
from inspect_compress.errors import EvidenceError
from inspect_compress.files import KEY, TEXT_BYTES, read_file, read_text, write_file
from inspect_compress.settings import Settings

MANIFEST, RUN, ARCHIVE = "manifest.csv", "run.json", "archive"
ORIGINALS, RESULTS, THRESHOLDS = "originals.parquet", "results.parquet", "thresholds.parquet"
SHIFTS, CROPS, PARTS = "shifts.parquet", "crops.parquet", "parts"
PILOT, ROI = "pilot.toml", "roi.toml"
SUMMARY, REPORT, JAPANESE, PDF, JAPANESE_PDF = (
    "summary.json",
    "report.html",
    "report.ja.html",
    "report.pdf",
    "report.ja.pdf",
)
HASHES = "hashes.json"


ASSUMPTIONS = (PILOT, ROI)
DERIVED = (SUMMARY, REPORT, JAPANESE, PDF, JAPANESE_PDF)
NOT_HASHED = (HASHES, PARTS, KEY)
"""The hashes themselves, and what a run needs only until it is done."""
EDITABLE = ("recall_margin", "false_alarm_margin", "alpha")
"""Settings of pilot.toml that may be changed after the run: they change the verdict, not what was measured."""
FINGERPRINT_DIGITS = 32
"""Hexadecimal digits: 128 bits, which nobody can meet by trying."""

_PILOT_HEAD = """\
# The settings of this run. {editable} may be edited; then `inspect-compress report DIR` makes the
# report again. Any other change needs a new pilot.
"""


class Run(Settings):
    """What `run.json` says: where and how it was measured. `left_out`: as `evaluation.evidence.Facts` has it.

    `models`: the fingerprint of each codec's weights; `detector_models`: of detectors that came as a file.
    """

    dataset: str
    path: str
    made_at: datetime
    command: str
    scored: tuple[Scored, ...]
    left_out: dict[str, str]
    needed: int
    models: dict[str, str]
    detector_models: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, Any]
    leakage: Leakage


@dataclass(frozen=True)
class Measured:
    """A run as it lies in its folder. `shifts` is None where none was asked for, `roi` where there is no roi.toml.

    Tables as in `evaluation.sweep.Sweep`, `evaluation.shift_sweep.sweep_shifts` and `evaluation.crops.cut_crops`.
    `config`: as run, save for what was edited since.
    """

    folder: Path
    run: Run
    config: PilotConfig
    roi: RoiSettings | None
    manifest: Manifest
    originals: pd.DataFrame
    results: pd.DataFrame
    thresholds: pd.DataFrame
    shifts: pd.DataFrame | None
    crops: pd.DataFrame

    @property
    def primary(self) -> Scored:
        """Whose verdict counts."""
        return self.run.scored[0]

    def threshold(self, detector: str) -> float:
        """A frozen detector's."""
        own = self.thresholds[(self.thresholds["detector"] == detector) & (self.thresholds["scenario"] == "frozen")]
        return float(own["threshold"].iloc[0])

    def frozen_with(self, column: str) -> list[str]:
        """The frozen detectors for which a column of `thresholds` is true."""
        frozen = self.thresholds[self.thresholds["scenario"] == "frozen"]
        return [str(name) for name in frozen.loc[frozen[column], "detector"]]


@dataclass(frozen=True)
class Hashes:
    """SHA-256 by file, in hexadecimal. `measured` holds the archive's files too, by their path.

    `made_with`: versions of the packages that the derived files depend on.
    """

    measured: Mapping[str, str]
    assumptions: Mapping[str, str]
    derived: Mapping[str, str]
    made_with: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Of all that was measured: whoever wrote it down can tell another run from this one."""
        lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(self.measured.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:FINGERPRINT_DIGITS]

    def all(self) -> dict[str, str]:
        """By file, whatever it is for."""
        return {**self.measured, **self.assumptions, **self.derived}


def write_run(folder: Path, run: Run) -> None:
    """Write `run.json`."""
    write_file(folder / RUN, json_bytes(run.model_dump(mode="json")), overwrite=True)


def write_settings(folder: Path, config: PilotConfig) -> None:
    """Write `pilot.toml`, with a word on what may be edited."""
    head = _PILOT_HEAD.format(editable=", ".join(EDITABLE))
    write_file(folder / PILOT, f"{head}{settings_toml(config)}\n".encode(), overwrite=True)


def settings_toml(config: PilotConfig) -> str:
    """The settings as TOML that the pilot reads again; JSON's strings, numbers and lists are TOML's too."""
    settings = config.model_dump(mode="json").items()
    return "\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings)


def read_run_folder(folder: Path) -> Measured:
    """Read what was measured, and the assumptions as they are now.

    Raises EvidenceError where a file is missing or cannot be read, or where a setting was edited that only a new
    run can change; ConfigError for an assumption that is out of range.
    """
    folder = Path(folder)
    if not (folder / RUN).is_file():
        raise EvidenceError(f"{folder}: is not a pilot's folder (it holds no {RUN}); name the folder given to --out")
    try:
        run = Run.model_validate_json(read_file(folder / RUN, limit=TEXT_BYTES))
    except OSError as error:
        raise EvidenceError(f"{folder / RUN}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        what = f"{where}: {problem['msg']}" if where else problem["msg"]
        raise EvidenceError(f"{folder / RUN}: {what}; restore it as it was written") from error
    return Measured(
        folder=folder,
        run=run,
        config=_read_settings(folder, run),
        roi=read_roi_settings(folder / ROI) if (folder / ROI).exists() else None,
        manifest=read_manifest(folder / MANIFEST),
        originals=_read_table(folder / ORIGINALS),
        results=_read_table(folder / RESULTS),
        thresholds=_read_table(folder / THRESHOLDS),
        shifts=_read_table(folder / SHIFTS) if (folder / SHIFTS).exists() else None,
        crops=_read_table(folder / CROPS),
    )


def hash_folder(folder: Path) -> Hashes:
    """Hash every file of a run as it is now, `hashes.json` left out."""
    measured: dict[str, str] = {}
    assumptions: dict[str, str] = {}
    derived: dict[str, str] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        kind = assumptions if name in ASSUMPTIONS else derived if name in DERIVED else measured
        kind[name] = sha256_of(path)
    return Hashes(measured, assumptions, derived, versions())


def write_hashes(folder: Path) -> Hashes:
    """Write `hashes.json`, after all else is written."""
    hashes = hash_folder(folder)
    content = {
        "fingerprint": hashes.fingerprint,
        "measured": hashes.measured,
        "assumptions": hashes.assumptions,
        "derived": hashes.derived,
        "made_with": hashes.made_with,
    }
    write_file(folder / HASHES, json_bytes(content), overwrite=True)
    return hashes


def read_hashes(folder: Path) -> Hashes:
    """Read `hashes.json`. Raises EvidenceError where it is missing or no longer what was written."""
    path = folder / HASHES
    try:
        content = json.loads(read_text(path))
        hashes = Hashes(*(content[name] for name in ("measured", "assumptions", "derived", "made_with")))
        sound = content["fingerprint"] == hashes.fingerprint
    except FileNotFoundError as error:
        raise EvidenceError(f"{path}: is missing; restore it, or run the pilot again") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EvidenceError(f"{path}: cannot be read; restore it as it was written") from error
    if not sound:
        raise EvidenceError(f"{path}: the fingerprint is not that of the files listed; the file was changed")
    return hashes


def versions() -> dict[str, str]:
    """Of the packages that a page's text and charts depend on."""
    return {name: version(name) for name in ("inspect-compress", "matplotlib")}


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_bytes(value: Any) -> bytes:
    """JSON as it is written everywhere in the folder: indented, letters as they are, no NaN."""
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in NOT_HASHED:
            yield path


def _read_settings(folder: Path, run: Run) -> PilotConfig:
    config = read_pilot_config(folder / PILOT)
    now = config.model_dump(mode="json")
    for name, value in run.settings.items():
        if name not in EDITABLE and now.get(name) != value:
            raise EvidenceError(
                f"{folder / PILOT}: {name} is {now.get(name)!r}, but the run was made with {value!r}; only "
                f"{', '.join(EDITABLE)} may be changed here, others need a new pilot"
            )
    return config


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise EvidenceError(f"{path}: is missing; restore it, or run the pilot again") from error
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise EvidenceError(f"{path}: is no Parquet table any more; restore it, or run the pilot again") from error
