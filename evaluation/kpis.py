"""From scores to KPIs: what each codec and quality costs in bits, and what it does to each detector.

Frames are paired: every setting is compared with what the detector that was trained on originals says of the
originals of the very same frames. Nothing is judged here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.grouping import Codes, design_of, group_codes
from evaluation.ranking import auroc, auroc_difference, average_precision, resample
from evaluation.scored import Scored
from evaluation.statistics import INDEPENDENT, Design, Estimate, paired_difference, proportion

ORIGINAL = "original"
"""Stands for the codec in the reference row: the frames as they came, in their own file format."""


@dataclass(frozen=True)
class ClassRecall:
    """How many of the frames with one kind of defect were detected."""

    defect: str
    frames: int
    detected: int
    recall: Estimate


@dataclass(frozen=True)
class Kpi:
    """One detector, trained in one way, at one codec and quality, or on the originals (`quality` None).

    `bpp`: bits in the files per pixel of the frames. `psnr` and `mask_psnr` (inside defect masks): decibels,
    means over the frames that were changed there at all. `edges_kept` and `contrast_kept`: shares of one, of
    the defects', means over the frames with a mask. All four and `ms_ssim` are NaN where no frame has one.

    Differences are to the frozen detector on the originals. `lost` and `gained`: defective frames detected
    there only, and here only; `recall_loss` is their difference per defective frame. Likewise
    `false_alarm_rise`, the added minus the removed false alarms per good frame, and `auroc_loss`. The designs
    of the two say what grouped frames count in a test of them.
    """

    detector: str
    codec: str
    quality: int | None
    bytes: int
    bpp: float
    psnr: float
    defective: int
    good: int
    detected: int
    false_alarms: int
    recall: Estimate
    false_alarm_rate: Estimate
    auroc: Estimate
    lost: int
    gained: int
    recall_loss: Estimate
    added: int
    removed: int
    false_alarm_rise: Estimate
    classes: tuple[ClassRecall, ...]
    scenario: str
    ms_ssim: float
    mask_psnr: float
    edges_kept: float
    contrast_kept: float
    ap: Estimate
    auroc_loss: Estimate
    loss_design: Design = INDEPENDENT
    rise_design: Design = INDEPENDENT


@dataclass(frozen=True)
class _Judged:
    """What one judge said of the frames: `scores` float64 and `flags` bool, both `(n,)`."""

    scores: NDArray[np.float64]
    flags: NDArray[np.bool_]


@dataclass(frozen=True)
class _Frames:
    """What is the same for all KPIs: classes, groups (None: independent) and the bootstrap's draws."""

    defects: NDArray[np.object_]
    defective: NDArray[np.bool_]
    codes: Codes | None
    drawn: NDArray[np.int32]

    def codes_of(self, rows: NDArray[np.bool_]) -> Codes | None:
        return None if self.codes is None else self.codes[rows]


def compute_kpis(originals: pd.DataFrame, results: pd.DataFrame, scored: Sequence[Scored]) -> list[Kpi]:
    """KPIs per judge: the originals first, then codecs in the order of `results`, best quality first.

    `originals`: a row per frame (`frame_id`, `defect`, `group`, `width`, `height`, `bytes`, and `score_COLUMN`,
    `flag_COLUMN` per judge that is not retrained per quality). `results`: a row per frame, codec and quality:
    the same, `codec`, `quality` and the fidelities. `scored`: the judges, each detector's frozen one among them;
    an adapted one has no row on the originals. Where frames have groups, intervals allow for them.
    """
    reference = originals.set_index("frame_id")
    defective = (reference["defect"] != "").to_numpy()
    codes = group_codes(reference["group"].tolist()) if "group" in reference else None
    frames = _Frames(reference["defect"].to_numpy(object), defective, codes, resample(defective, codes))
    settings = [(c, q, rows.set_index("frame_id").loc[reference.index]) for c, q, rows in _settings(results)]
    kpis = []
    for judge in scored:
        before = _judged(reference, judge.detector)
        if judge.scenario != "adapted":
            kpis.append(_kpi(judge, ORIGINAL, None, reference, before, frames))
        kpis += [_kpi(judge, codec, quality, rows, before, frames) for codec, quality, rows in settings]
    return kpis


def summary_row(kpi: Kpi) -> dict[str, Any]:
    """The KPI as a row of `summary.json`; rates are shares of one, `psnr` in decibels."""
    return {
        "codec": kpi.codec,
        "quality": kpi.quality,
        "detector": kpi.detector,
        "scenario": kpi.scenario,
        "bpp": kpi.bpp,
        "bytes": kpi.bytes,
        "psnr": kpi.psnr,
        "ms_ssim": kpi.ms_ssim,
        "mask_psnr": kpi.mask_psnr,
        "edges_kept": kpi.edges_kept,
        "contrast_kept": kpi.contrast_kept,
        **_limits("recall", "recall", kpi.recall),
        **_limits("false_alarm_rate", "far", kpi.false_alarm_rate),
        **_limits("auroc", "auroc", kpi.auroc),
        **_limits("ap", "ap", kpi.ap),
        **_limits("auroc_loss", "auroc_loss", kpi.auroc_loss),
        **_limits("recall_loss", "recall_loss", kpi.recall_loss),
        **_limits("false_alarm_rise", "far_rise", kpi.false_alarm_rise),
        "defective_frames": kpi.defective,
        "good_frames": kpi.good,
        "lost": kpi.lost,
        "gained": kpi.gained,
        "added": kpi.added,
        "removed": kpi.removed,
        "recall_loss_design_effect": kpi.loss_design.effect,
        "false_alarm_rise_design_effect": kpi.rise_design.effect,
        "by_class": [
            {"defect": c.defect, "frames": c.frames, "detected": c.detected} | _limits("recall", "recall", c.recall)
            for c in kpi.classes
        ],
    }


def _limits(name: str, short: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{short}_low": estimate.low, f"{short}_high": estimate.high}


def _settings(results: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    for codec in results["codec"].unique():
        rows = results[results["codec"] == codec]
        for quality in sorted(rows["quality"].unique(), reverse=True):
            yield str(codec), int(quality), rows[rows["quality"] == quality]


def _judged(rows: pd.DataFrame, column: str) -> _Judged:
    return _Judged(rows[f"score_{column}"].to_numpy(np.float64), rows[f"flag_{column}"].to_numpy(bool))


def _kpi(judge: Scored, codec: str, quality: int | None, rows: pd.DataFrame, before: _Judged, frames: _Frames) -> Kpi:
    after = _judged(rows, judge.column)
    defective, good = frames.defective, ~frames.defective
    lost, gained, recall_loss, loss_design = _change(before, after, defective, frames)
    removed, added, _, rise_design = _change(before, after, good, frames)
    size = int(rows["bytes"].sum())
    return Kpi(
        detector=judge.detector,
        scenario=judge.scenario,
        codec=codec,
        quality=quality,
        bytes=size,
        bpp=8 * size / int((rows["width"] * rows["height"]).sum()),
        psnr=_mean(rows, "psnr"),
        ms_ssim=_mean(rows, "ms_ssim"),
        mask_psnr=_mean(rows, "mask_psnr"),
        edges_kept=_mean(rows, "edges_kept"),
        contrast_kept=_mean(rows, "contrast_kept"),
        defective=_count(defective),
        good=_count(good),
        detected=_count(defective & after.flags),
        false_alarms=_count(good & after.flags),
        recall=_rate(after, defective, frames),
        false_alarm_rate=_rate(after, good, frames),
        auroc=auroc(after.scores, defective, codes=frames.codes),
        ap=average_precision(after.scores, defective, frames.drawn, codes=frames.codes),
        auroc_loss=auroc_difference(before.scores, after.scores, defective, codes=frames.codes),
        lost=lost,
        gained=gained,
        recall_loss=recall_loss,
        loss_design=loss_design,
        added=added,
        removed=removed,
        false_alarm_rise=paired_difference(added, removed, _count(good), design=rise_design),
        rise_design=rise_design,
        classes=_by_class(after, frames),
    )


def _rate(judged: _Judged, rows: NDArray[np.bool_], frames: _Frames) -> Estimate:
    """The share of the `rows` that are flagged."""
    flags = judged.flags[rows]
    design = design_of(flags, frames.codes_of(rows), [judged.scores[rows]])
    return proportion(_count(flags), len(flags), design=design)


def _change(
    before: _Judged, after: _Judged, rows: NDArray[np.bool_], frames: _Frames
) -> tuple[int, int, Estimate, Design]:
    """Flags lost and gained on the `rows`, the difference of the two per row, and its design."""
    first, second = before.flags[rows], after.flags[rows]
    lost, gained = _count(first & ~second), _count(second & ~first)
    scores = [after.scores[rows], after.scores[rows] - before.scores[rows]]
    design = design_of(first.astype(int) - second, frames.codes_of(rows), scores)
    return lost, gained, paired_difference(lost, gained, len(first), design=design), design


def _by_class(judged: _Judged, frames: _Frames) -> tuple[ClassRecall, ...]:
    found = []
    for defect in sorted(set(frames.defects) - {""}):
        rows = frames.defects == defect
        recall = _rate(judged, rows, frames)
        found.append(ClassRecall(str(defect), _count(rows), _count(rows & judged.flags), recall))
    return tuple(found)


def _mean(rows: pd.DataFrame, column: str) -> float:
    """Over the frames that have a finite figure; NaN where none has, or none was measured."""
    if column not in rows:
        return math.nan
    values = rows[column].to_numpy(np.float64)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


def _count(mask: NDArray[np.bool_]) -> int:
    return int(mask.sum())
