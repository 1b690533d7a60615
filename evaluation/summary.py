"""The evidence as `summary.json`: every figure of the report, for programs. docs/report.md describes each key."""

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

from evaluation.decision import Decision
from evaluation.economics import summary as economics_summary
from evaluation.escapes import Turned, find_turned
from evaluation.evidence import Evidence
from evaluation.kpis import summary_row
from evaluation.report.texts import Texts
from evaluation.report.wording import sentence
from evaluation.run_folder import Measured
from evaluation.statistics import Estimate

SCHEMA = 2
"""Raised when a key changes its meaning or goes."""


def summarise(evidence: Evidence, measured: Measured, texts: Texts) -> dict[str, Any]:
    """The content of `summary.json`, ready for JSON: NaN and infinity are null."""
    facts, changes = evidence.facts, evidence.changes
    column = measured.primary.column
    threshold = measured.threshold(measured.primary.detector)
    escapes, false_alarms = find_turned(measured.originals, measured.results, column, threshold)
    assert (len(escapes), len(false_alarms)) == (changes.escapes_total, changes.false_alarms_total)
    summary = {
        "schema": SCHEMA,
        "language": texts.lang,
        "decision": _decision(evidence.decision) | {"sentence": sentence(evidence.decision, evidence.margins, texts)},
        "scenario_decisions": {name: _decision(made) for name, made in evidence.scenario_decisions.items()},
        "kpis": [summary_row(kpi) for kpi in evidence.kpis],
        "curves": evidence.curves,
        "shifts": evidence.shifts,
        "escapes": [_turned(turned) for turned in escapes],
        "new_false_alarms": [_turned(turned) for turned in false_alarms],
        "economics": None if evidence.economics is None else economics_summary(evidence.economics),
        "leakage": evidence.leakage,
        "dataset": {
            "name": facts.dataset,
            "splits": {s: {"good": g, "defective": d} for s, (g, d) in facts.splits.items()},
            "test_defects": dict(facts.kinds),
            "groups": facts.groups,
            "original_bytes": evidence.decision.original.bytes,
            "raw_bytes": facts.raw_bytes,
            "manifest_sha256": facts.manifest_sha256,
        },
        "detectors": {
            "thresholds": dict(facts.thresholds),
            "scenarios": list(facts.scenarios),
            "left_out": dict(facts.left_out),
            "models": dict(measured.run.detector_models),
        },
        "models": dict(facts.models),
        "config": measured.config.model_dump(mode="json"),
        "versions": dict(facts.versions),
        "command": facts.command,
        "made_at": facts.made_at.isoformat(timespec="seconds"),
        "fingerprint": facts.fingerprint,
    }
    plain: dict[str, Any] = _plain(summary)
    return plain


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "verdict": decision.verdict,
        "codec": decision.kpi.codec,
        "quality": decision.kpi.quality,
        "bpp": decision.kpi.bpp,
        "detector": decision.kpi.detector,
        "more_defective_frames": decision.more_defective,
        "more_good_frames": decision.more_good,
    }


def _turned(turned: Turned) -> dict[str, Any]:
    after = [{"quality": quality, "score": score} for quality, score in turned.score_after]
    return turned._asdict() | {"score_after": after}


def _plain(value: Any) -> Any:
    """`value` as JSON has it: dataclasses and named tuples as objects, null for what it has no number for."""
    if isinstance(value, Estimate):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return None if isinstance(value, float) and not math.isfinite(value) else value
