"""A pilot from a dataset to a folder of evidence: measured once, kept, and reported. Works out no figure itself.

What is measured lies in a folder beside the one asked for until all is there, so that a killed pilot goes on.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from evaluation.crops import cut_crops
from evaluation.leakage import find_leakage
from evaluation.make_report import MadeReport, make_report
from evaluation.manifest import Manifest, make_manifest, write_manifest
from evaluation.pilot_config import PilotConfig, load_codecs
from evaluation.roi_config import EXAMPLE, read_roi_settings
from evaluation.run_folder import (
    ARCHIVE,
    CROPS,
    EDITABLE,
    MANIFEST,
    ORIGINALS,
    PARTS,
    RESULTS,
    ROI,
    SHIFTS,
    THRESHOLDS,
    Run,
    write_run,
    write_settings,
)
from evaluation.shift_sweep import sweep_shifts
from evaluation.sweep import MIN_TRAIN_DEFECTIVE, Step, Sweep, sweep, train_detectors
from inspect_compress.files import resumable_folder, write_file
from pipelines.archive import Archive
from pipelines.datasets import Dataset, read_dataset, split_dataset
from pipelines.detectors import load_detector, short_name
from pipelines.engines import Engine, LocalEngine

PACKAGES = (
    "inspect-compress",
    "torch",
    "numpy",
    "imagecodecs",
    "scikit-learn",
    "opencv-python",
    "constriction",
)

Say = Callable[[str], None]
"""Told what the user should know, in one line each."""


@dataclass(frozen=True)
class PilotRequest:
    """What a pilot is asked for. `roi`: the plant's prices; None: the packaged example's. `command`: as typed.

    `engine`: where frames are encoded; it does not change what comes out.
    """

    dataset: Path
    out: Path
    config: PilotConfig
    roi: Path | None
    languages: Sequence[str]
    command: str
    overwrite: bool
    engine: Engine = field(default_factory=LocalEngine)


def run_pilot(request: PilotRequest, *, step: Step, say: Say) -> MadeReport:
    """Run a pilot and write the evidence to the folder asked for, whole or not at all.

    A pilot that was killed goes on where it was, if dataset, settings and versions are still the same. Raises the
    errors of reading a dataset, of `sweep`, of `sweep_shifts` and of `resumable_folder`.
    """
    config, roi = request.config, request.roi or EXAMPLE
    read_roi_settings(roi)  # prices that cannot be used are better met before the sweep than after it
    dataset = split_dataset(read_dataset(request.dataset), seed=config.seed)
    manifest = make_manifest(dataset)
    with resumable_folder(request.out, _key(dataset, manifest, config), overwrite=request.overwrite) as work:
        if (work / PARTS).is_dir():
            say(f"going on from what an earlier run left in {work}")
        measured = sweep(dataset, config, work, step=step, engine=request.engine)
        _write_tables(work, measured)
        _write_crops(work, measured)
        if config.shifts:
            _write_shifts(work, dataset, config, step)
        write_manifest(manifest, work / MANIFEST, overwrite=True)
        write_settings(work, config)
        write_file(work / ROI, roi.read_bytes(), overwrite=True)
        write_run(work, _run(request, dataset, measured))
        made = make_report(work, request.languages)
        shutil.rmtree(work / PARTS)
    return made.moved(request.out)


def _key(dataset: Dataset, manifest: Manifest, config: PilotConfig) -> str:
    """What has to be the same for a killed pilot to go on: all that the measured figures depend on."""
    settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in EDITABLE}
    models = {**_fingerprints(config), **_detector_models(config)}
    parts = [str(dataset.root.resolve()), manifest.fingerprint, settings, models, _versions()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _write_tables(work: Path, measured: Sweep) -> None:
    measured.originals.to_parquet(work / ORIGINALS, index=False)
    measured.results.to_parquet(work / RESULTS, index=False)
    measured.thresholds.to_parquet(work / THRESHOLDS, index=False)


def _write_crops(work: Path, measured: Sweep) -> None:
    primary = measured.scored[0]
    own = measured.thresholds[measured.thresholds["detector"] == primary.detector]
    threshold = float(own.loc[own["scenario"] == primary.scenario, "threshold"].iloc[0])
    archive = Archive(work / ARCHIVE)
    crops = cut_crops(measured.originals, measured.results, archive, primary.column, threshold)
    crops.to_parquet(work / CROPS, index=False)


def _write_shifts(work: Path, dataset: Dataset, config: PilotConfig, step: Step) -> None:
    detectors, _ = train_detectors(dataset, config, step=step)
    table = sweep_shifts(dataset, config, detectors, work / PARTS / "shifts", step=step)
    table.to_parquet(work / SHIFTS, index=False)


def _run(request: PilotRequest, dataset: Dataset, measured: Sweep) -> Run:
    root = dataset.root.resolve()
    return Run(
        dataset=root.name,
        path=str(root),
        made_at=datetime.now(UTC),
        command=request.command,
        scored=measured.scored,
        left_out=dict(measured.left_out),
        needed=MIN_TRAIN_DEFECTIVE,
        models=_fingerprints(request.config),
        detector_models=_detector_models(request.config),
        versions=_versions(),
        settings=request.config.model_dump(mode="json"),
        leakage=find_leakage(dataset),
    )


def _fingerprints(config: PilotConfig) -> dict[str, str]:
    return {name: codec.model for name, codec in zip(config.codecs, load_codecs(config), strict=True)}


def _detector_models(config: PilotConfig) -> dict[str, str]:
    """Fingerprints of the detectors whose weights came from a file."""
    models = {short_name(name): getattr(load_detector(name), "model", "") for name in config.detectors}
    return {name: model for name, model in models.items() if model}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
