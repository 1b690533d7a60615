"""All that a report is made from, in one value. Nothing here computes or draws.

`evaluation.gather` makes it from a run's folder, `evaluation.report.page` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evaluation.decision import Decision, Margins
from evaluation.escapes import Changes
from evaluation.kpis import Kpi
from evaluation.report.samples import Sample

if TYPE_CHECKING:
    from evaluation.curves import CodecCurve
    from evaluation.economics import Economics
    from evaluation.leakage import Leakage
    from evaluation.shift_kpis import ShiftRow


@dataclass(frozen=True)
class Facts:
    """Where the figures come from.

    `splits` holds the numbers of good and defective frames per split, `kinds` those of test frames per kind
    of defect, `groups` how many lots or panels there are (0: none given). `thresholds`: of the frozen detectors;
    `own_thresholds`: those of them whose threshold came with them; `came_trained`: those that were not taught here.
    `alpha`: one-sided, of the decision's tests. `scenarios`: those that were run, `frozen` first. `left_out`: per
    column of a detector that could not be trained (`Scored.column`), why: `too_few` defective train frames, of
    which `needed` are needed, or `fixed`, a detector that cannot be retrained. `models`: the fingerprint per codec
    (empty without one). `settings`: the configuration as TOML. `command`: what was typed. `manifest_sha256`: of
    `manifest.csv`, which names every frame's own hash. `fingerprint`: of all measured files, what
    `inspect-compress report --verify` prints again.
    """

    dataset: str
    made_at: datetime
    splits: Mapping[str, tuple[int, int]]
    kinds: Mapping[str, int]
    groups: int
    raw_bytes: int
    target_false_alarm_rate: float
    alpha: float
    seed: int
    thresholds: Mapping[str, float]
    own_thresholds: Sequence[str]
    came_trained: Sequence[str]
    scenarios: Sequence[str]
    left_out: Mapping[str, str]
    needed: int
    models: Mapping[str, str]
    qualities: Sequence[int]
    versions: Mapping[str, str]
    settings: str
    command: str
    manifest_sha256: str
    fingerprint: str


@dataclass(frozen=True)
class Evidence:
    """What the page shows.

    `kpis`: as `compute_kpis` gives them. `decision`: on the first codec, for the first detector, frozen.
    `scenario_decisions`: the same question per scenario that was run. `shifts`: empty where none was asked for.
    `economics`: None without a roi.toml.
    """

    facts: Facts
    margins: Margins
    kpis: tuple[Kpi, ...]
    decision: Decision
    scenario_decisions: Mapping[str, Decision]
    curves: tuple[CodecCurve, ...]
    leakage: Leakage
    shifts: tuple[ShiftRow, ...]
    changes: Changes
    samples: tuple[Sample, ...]
    economics: Economics | None
