"""From scores to KPIs: what each codec and quality costs in bits, and what it does to each detector.

Frames are paired: every setting is compared with the originals of the very same frames.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.statistics import Estimate, auroc, paired_difference, proportion

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
    """One detector at one codec and quality, or on the originals (`quality` None, no differences).

    `bpp`: bits in the files per pixel of the frames. `psnr`: decibels, mean over the frames that were changed
    at all; NaN where none was. `lost` and `gained`: defective frames detected in the originals only, and in
    the decoded ones only; `recall_loss` is their difference per defective frame. Likewise
    `false_alarm_rise`, the added minus the removed false alarms per good frame.
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


def compute_kpis(originals: pd.DataFrame, results: pd.DataFrame, thresholds: Mapping[str, float]) -> list[Kpi]:
    """KPIs per detector: the originals first, then codecs in the order of `results`, best quality first.

    `originals`: a row per frame (`frame_id`, `defect`, `width`, `height`, `bytes`, `psnr`, and `score_NAME`
    per detector). `results`: the same and `codec`, `quality`, a row per frame, codec and quality.
    `thresholds`: of each detector; a score at or above it means defective.
    """
    reference = originals.set_index("frame_id")
    kpis = []
    for detector, threshold in thresholds.items():
        kpis.append(_kpi(detector, threshold, ORIGINAL, None, reference, reference))
        for codec, quality, frames in _settings(results):
            rows = frames.set_index("frame_id").loc[reference.index]
            kpis.append(_kpi(detector, threshold, codec, quality, rows, reference))
    return kpis


def summary_row(kpi: Kpi) -> dict[str, Any]:
    """The KPI as a row of `summary.json`; rates are shares of one, `psnr` in decibels."""
    return {
        "codec": kpi.codec,
        "quality": kpi.quality,
        "detector": kpi.detector,
        "bpp": kpi.bpp,
        "bytes": kpi.bytes,
        "psnr": kpi.psnr,
        **_limits("recall", "recall", kpi.recall),
        **_limits("false_alarm_rate", "far", kpi.false_alarm_rate),
        **_limits("auroc", "auroc", kpi.auroc),
        **_limits("recall_loss", "recall_loss", kpi.recall_loss),
        **_limits("false_alarm_rise", "far_rise", kpi.false_alarm_rise),
        "defective_frames": kpi.defective,
        "good_frames": kpi.good,
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


def _kpi(
    detector: str,
    threshold: float,
    codec: str,
    quality: int | None,
    rows: pd.DataFrame,
    reference: pd.DataFrame,
) -> Kpi:
    defective = (rows["defect"] != "").to_numpy()
    scores = rows[f"score_{detector}"].to_numpy()
    before = reference[f"score_{detector}"].to_numpy() >= threshold
    after = scores >= threshold
    lost, gained = _count(defective & before & ~after), _count(defective & after & ~before)
    added, removed = _count(~defective & after & ~before), _count(~defective & before & ~after)
    positives, negatives = _count(defective), _count(~defective)
    psnr = rows["psnr"].dropna()
    size = int(rows["bytes"].sum())
    return Kpi(
        detector=detector,
        codec=codec,
        quality=quality,
        bytes=size,
        bpp=8 * size / int((rows["width"] * rows["height"]).sum()),
        psnr=float(psnr.mean()) if len(psnr) else math.nan,
        defective=positives,
        good=negatives,
        detected=_count(defective & after),
        false_alarms=_count(~defective & after),
        recall=proportion(_count(defective & after), positives),
        false_alarm_rate=proportion(_count(~defective & after), negatives),
        auroc=auroc(scores, defective),
        lost=lost,
        gained=gained,
        recall_loss=paired_difference(lost, gained, positives),
        added=added,
        removed=removed,
        false_alarm_rise=paired_difference(added, removed, negatives),
        classes=_by_class(rows["defect"], after),
    )


def _by_class(defects: pd.Series, flagged: NDArray[np.bool_]) -> tuple[ClassRecall, ...]:
    found = []
    for defect in sorted(set(defects) - {""}):
        of_class = (defects == defect).to_numpy()
        frames, detected = _count(of_class), _count(of_class & flagged)
        found.append(ClassRecall(str(defect), frames, detected, proportion(detected, frames)))
    return tuple(found)


def _count(mask: NDArray[np.bool_]) -> int:
    return int(mask.sum())
