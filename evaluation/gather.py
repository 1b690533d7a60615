"""Works out all that a report says from what lies in a run's folder. Measures nothing, and needs no codec."""

from collections import Counter

import numpy as np

from evaluation.curves import compare_codecs
from evaluation.decision import Decision, Margins, decide
from evaluation.economics import Economics, economics
from evaluation.escapes import find_turned
from evaluation.evidence import Evidence, Facts
from evaluation.kpis import compute_kpis
from evaluation.outcome import Outcome
from evaluation.pictures import take_changes, take_samples
from evaluation.run_folder import MANIFEST, Hashes, Measured, settings_toml
from evaluation.scored import Scored
from evaluation.shift_kpis import ShiftRow, shift_rows
from pipelines.datasets import SPLITS


def gather(measured: Measured, hashes: Hashes) -> Evidence:
    """The evidence; the same folder gives the same. `hashes`: of the folder as it is now."""
    column, threshold = measured.primary.column, measured.threshold(measured.primary.detector)
    kpis = compute_kpis(measured.originals, measured.results, measured.run.scored)
    margins = margins_of(measured)
    decisions = {
        scenario: decide(kpis, margins, alpha=measured.config.alpha, scenario=scenario)
        for scenario in _scenarios(measured)
    }
    turned = find_turned(measured.originals, measured.results, column, threshold)
    return Evidence(
        facts=_facts(measured, hashes),
        margins=margins,
        kpis=tuple(kpis),
        decision=decisions[measured.primary.scenario],
        scenario_decisions=decisions,
        curves=tuple(compare_codecs(kpis, measured.config.codecs[0], measured.results)),
        leakage=measured.run.leakage,
        shifts=_shifts(measured, margins),
        changes=take_changes(turned, measured.results, measured.crops, column),
        samples=tuple(take_samples(measured.originals, measured.results, measured.crops, column, threshold)),
        economics=_economics(measured, decisions[measured.primary.scenario]),
    )


def margins_of(measured: Measured) -> Margins:
    """As the settings have them now."""
    return Margins(measured.config.recall_margin, measured.config.false_alarm_margin)


def _scenarios(measured: Measured) -> list[str]:
    """Those in which the detector that carries the verdict could be trained."""
    primary = measured.primary.detector
    names = dict.fromkeys(scored.scenario for scored in measured.run.scored)
    return [name for name in names if Scored(primary, name) in measured.run.scored]


def _shifts(measured: Measured, margins: Margins) -> tuple[ShiftRow, ...]:
    if measured.shifts is None:
        return ()
    return tuple(shift_rows(measured.shifts, measured.primary.detector, margins))


def _economics(measured: Measured, decision: Decision) -> Economics | None:
    """What the setting that the decision is about is worth; None without prices."""
    if measured.roi is None:
        return None
    before = measured.originals.set_index("frame_id")
    shown = (measured.results["codec"] == decision.kpi.codec) & (measured.results["quality"] == decision.kpi.quality)
    after = measured.results[shown].set_index("frame_id").loc[before.index]
    flag = f"flag_{measured.primary.column}"
    groups = before["group"].to_numpy(str)
    outcome = Outcome(
        original_bytes=before["bytes"].to_numpy(np.int64),
        coded_bytes=after["bytes"].to_numpy(np.int64),
        defective=(before["defect"] != "").to_numpy(bool),
        flagged_before=before[flag].to_numpy(bool),
        flagged_after=after[flag].to_numpy(bool),
        groups=groups if (groups != "").any() else None,
        recall_loss=decision.kpi.recall_loss,
        false_alarm_rise=decision.kpi.false_alarm_rise,
    )
    return economics(measured.roi, outcome)


def _facts(measured: Measured, hashes: Hashes) -> Facts:
    run, config, entries = measured.run, measured.config, measured.manifest.entries
    counts = Counter((entry.split, bool(entry.defect)) for entry in entries)
    kinds = Counter(entry.defect for entry in entries if entry.split == "test" and entry.defect)
    frozen = [scored.detector for scored in run.scored if scored.scenario == "frozen"]
    return Facts(
        dataset=run.dataset,
        made_at=run.made_at,
        splits={split: (counts[split, False], counts[split, True]) for split in SPLITS},
        kinds=dict(sorted(kinds.items())),
        groups=len({entry.group for entry in entries} - {""}),
        raw_bytes=int(measured.originals["raw_bytes"].sum()),
        target_false_alarm_rate=config.target_false_alarm_rate,
        alpha=config.alpha,
        seed=config.seed,
        thresholds={name: measured.threshold(name) for name in frozen},
        own_thresholds=measured.frozen_with("own"),
        came_trained=measured.frozen_with("came_trained"),
        scenarios=list(dict.fromkeys(scored.scenario for scored in run.scored)),
        left_out=dict(run.left_out),
        needed=run.needed,
        models=dict(run.models),
        qualities=sorted(config.qualities, reverse=True),
        versions=dict(run.versions),
        settings=settings_toml(config),
        command=run.command,
        manifest_sha256=hashes.measured[MANIFEST],
        fingerprint=hashes.fingerprint,
    )
