"""What the tables say of one frame, as it came and decoded; and what the detectors say of many."""

import math
from collections.abc import Sequence
from concurrent.futures import Executor

import pandas as pd

from evaluation.defect_fidelity import defect_fidelity
from evaluation.sweep.coding import Coded
from evaluation.sweep.frames import Frame
from evaluation.sweep.training import TrainedDetector, Views
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image
from pipelines.detectors import is_trainable
from pipelines.detectors.threshold import own_threshold

Row = dict[str, object]


def original_row(frame: Frame) -> Row:
    """A row of `Sweep.originals`, without scores."""
    return {
        **_frame_columns(frame),
        "image": str(frame.item.image),
        "mask": str(frame.item.mask) if frame.item.mask else "",
        "bytes": frame.file_bytes,
        "raw_bytes": frame.image.nbytes,
        "psnr": math.nan,
        "ms_ssim": math.nan,
    }


def result_row(frame: Frame, coded: Coded) -> Row:
    """A row of `Sweep.results`, without scores."""
    record = coded.record
    return {
        **_frame_columns(frame),
        "codec": record.codec,
        "model": record.model,
        "quality": record.quality,
        "bytes": len(record.payload),
        "original_bytes": frame.file_bytes,
        "bpp": 8 * len(record.payload) / (record.width * record.height),
        **_fidelity(frame, coded.image),
    }


def scored_table(
    rows: Sequence[Row], views: Views, judges: Sequence[TrainedDetector], pool: Executor
) -> pd.DataFrame:
    """The rows with each detector's scores, and flags where they are at its threshold or above."""
    table = pd.DataFrame(rows)
    for judge, scores in zip(judges, pool.map(lambda judge: judge.score(views), judges), strict=True):
        table[f"score_{judge.scored.column}"] = scores
        table[f"flag_{judge.scored.column}"] = scores >= judge.threshold
    return table


def threshold_rows(judges: Sequence[TrainedDetector], codec: str, quality: int | None) -> pd.DataFrame:
    """Rows of `Sweep.thresholds` for detectors that were trained together."""
    rows = [
        (
            judge.scored.detector,
            judge.scored.scenario,
            codec,
            quality,
            judge.threshold,
            own_threshold(judge.detector) is not None,
            not is_trainable(judge.detector),
        )
        for judge in judges
    ]
    table = pd.DataFrame(
        rows, columns=["detector", "scenario", "codec", "quality", "threshold", "own", "came_trained"]
    )
    return table.astype({"quality": "Int64", "threshold": "float64"})


def _fidelity(frame: Frame, decoded: Image) -> Row:
    defect = defect_fidelity(frame.image, decoded, frame.mask)
    return {
        "psnr": _finite(psnr(frame.image, decoded)),
        "ms_ssim": ms_ssim(frame.image, decoded),
        "mask_psnr": _finite(defect.mask_psnr),
        "edges_kept": defect.edges_kept,
        "contrast_kept": defect.contrast_kept,
    }


def _finite(decibels: float) -> float:
    """NaN where nothing changed, so that means are over what did."""
    return decibels if math.isfinite(decibels) else math.nan


def _frame_columns(frame: Frame) -> Row:
    return {
        "frame_id": frame.frame_id,
        "defect": frame.item.defect,
        "group": frame.item.group,
        "width": frame.image.shape[1],
        "height": frame.image.shape[0],
        "channels": 1 if frame.image.ndim == 2 else 3,
    }
