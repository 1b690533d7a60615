"""A pilot from a dataset to a folder of evidence: sweep, KPIs, decision, report, and the tables beside it."""

import json
import math
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.decision import Decision, Margins, decide
from evaluation.kpis import Kpi, compute_kpis, summary_row
from evaluation.pilot_config import PilotConfig
from evaluation.report.page import Facts, render_report, sentence
from evaluation.report.samples import take_samples
from evaluation.report.texts import load_texts
from evaluation.sweep import MIN_TRAIN_DEFECTIVE, Step, Sweep, sweep
from inspect_compress.codecs import load_codec
from inspect_compress.files import staged_folder
from pipelines.archive import Archive
from pipelines.datasets import SPLITS, Dataset, read_dataset, split_dataset

REPORT, SUMMARY, RESULTS, ARCHIVE = "report.html", "summary.json", "results.parquet", "archive"
PACKAGES = (
    "inspect-compress",
    "torch",
    "numpy",
    "imagecodecs",
    "scikit-learn",
    "opencv-python",
    "constriction",
)


@dataclass(frozen=True)
class PilotResult:
    """Where the evidence lies, and what `summary.json` says."""

    report: Path
    summary_file: Path
    summary: dict[str, Any]


def run_pilot(path: Path, out: Path, config: PilotConfig, *, lang: str, overwrite: bool, step: Step) -> PilotResult:
    """Run a pilot on the dataset at `path` and write the evidence to the folder `out`, whole or not at all.

    `step` is told of the progress. Raises the errors of reading a dataset, of `sweep` and of `staged_folder`.
    """
    dataset = split_dataset(read_dataset(path), seed=config.seed)
    texts = load_texts(lang)
    with staged_folder(out, overwrite=overwrite) as stage:
        archive = Archive(stage / ARCHIVE)
        measured = sweep(dataset, config, archive, step=step)
        kpis = compute_kpis(measured.originals, measured.results, measured.thresholds)
        margins = Margins(config.recall_margin, config.false_alarm_margin)
        decision = decide(kpis, margins)
        facts = _facts(dataset, config, measured)
        primary, threshold = next(iter(measured.thresholds.items()))
        samples = take_samples(measured.originals, measured.results, archive, primary, threshold)
        page = render_report(kpis, decision, margins, samples, facts, texts)
        summary = _summary(kpis, decision, sentence(decision, margins, texts), facts, config)
        measured.results.to_parquet(stage / RESULTS, index=False)
        (stage / SUMMARY).write_text(_json(summary), encoding="utf-8")
        (stage / REPORT).write_text(page, encoding="utf-8")
    return PilotResult(out / REPORT, out / SUMMARY, summary)


def _facts(dataset: Dataset, config: PilotConfig, measured: Sweep) -> Facts:
    counts = Counter((item.split, item.is_defective) for item in dataset.items)
    test = [item for item in dataset.items if item.split == "test"]
    return Facts(
        dataset=dataset.root.resolve().name,
        made_at=datetime.now(UTC),
        splits={split: (counts[split, False], counts[split, True]) for split in SPLITS},
        kinds=dict(sorted(Counter(item.defect for item in test if item.is_defective).items())),
        groups=len({item.group for item in dataset.items} - {""}),
        raw_bytes=int(measured.originals["raw_bytes"].sum()),
        target_false_alarm_rate=config.target_false_alarm_rate,
        seed=config.seed,
        thresholds=measured.thresholds,
        left_out=measured.left_out,
        needed=MIN_TRAIN_DEFECTIVE,
        models={name: load_codec(name).model for name in config.codecs},
        qualities=sorted(config.qualities, reverse=True),
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        settings=_toml(config),
    )


def _summary(kpis: list[Kpi], decision: Decision, words: str, facts: Facts, config: PilotConfig) -> dict[str, Any]:
    return {
        "decision": {
            "verdict": decision.verdict,
            "codec": decision.kpi.codec,
            "quality": decision.kpi.quality,
            "bpp": decision.kpi.bpp,
            "detector": decision.kpi.detector,
            "sentence": words,
            "more_defective_frames": decision.more_defective,
            "more_good_frames": decision.more_good,
        },
        "kpis": [summary_row(kpi) for kpi in kpis],
        "dataset": {
            "name": facts.dataset,
            "splits": {s: {"good": g, "defective": d} for s, (g, d) in facts.splits.items()},
            "test_defects": dict(facts.kinds),
            "groups": facts.groups,
            "original_bytes": decision.original.bytes,
            "raw_bytes": facts.raw_bytes,
        },
        "detectors": {
            "thresholds": dict(facts.thresholds),
            "left_out": list(facts.left_out),
        },
        "models": dict(facts.models),
        "config": config.model_dump(mode="json"),
        "versions": dict(facts.versions),
        "made_at": facts.made_at.isoformat(timespec="seconds"),
    }


def _json(value: Any) -> str:
    return json.dumps(_finite(value), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """`value` with null in place of what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _toml(config: PilotConfig) -> str:
    """The settings as TOML that the pilot reads again; JSON's strings, numbers and lists are TOML's too."""
    settings = config.model_dump(mode="json").items()
    return "\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings)
