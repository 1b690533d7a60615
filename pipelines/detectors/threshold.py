"""Where the line between good and defective is drawn. Says nothing about how good the detector is."""

import numpy as np

from inspect_compress.errors import DetectorError
from pipelines.detectors import Detector, Labels, Scores


def settle_threshold(detector: Detector, scores: Scores, labels: Labels, *, target_far: float) -> float:
    """Return the detector's own threshold where the plant gave one, else `calibrate_threshold`'s, with its errors."""
    own = own_threshold(detector)
    return calibrate_threshold(scores, labels, target_far=target_far) if own is None else own


def own_threshold(detector: Detector) -> float | None:
    """The threshold that came with the detector; None where it is to be calibrated."""
    own: float | None = getattr(detector, "own_threshold", None)
    return own


def calibrate_threshold(scores: Scores, labels: Labels, *, target_far: float) -> float:
    """Return the smallest threshold at which at most `target_far` of the good frames are called defective.

    `scores` is (N,) float64 and `labels` (N,) bool, True where defective. A frame is called defective where
    its score is at or above the threshold. With n good frames, floor(target_far · n) false alarms are
    allowed: the threshold is the next number above the highest good score that must not alarm, or minus
    infinity where every good frame may. Frames with equal scores alarm together, so there may be fewer
    alarms than allowed. Only the good frames count; the defective may be left out.

    Raises DetectorError for no good frame, scores that are not finite, other lengths, or a `target_far`
    that is not in 0 to 1.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise DetectorError(f"{scores.shape} scores but {labels.shape} labels; give one label per score")
    if not 0 <= target_far <= 1:
        raise DetectorError(f"target false-alarm rate is {target_far}; choose one from 0 to 1")
    if not np.isfinite(scores).all():
        raise DetectorError("a score is not finite; check the detector before calibrating its threshold")
    good = np.sort(scores[~labels])[::-1]
    if good.size == 0:
        raise DetectorError("no good frame to calibrate the threshold on; add some to the calibration split")
    allowed = int(np.floor(target_far * good.size + 1e-9))
    return float(np.nextafter(good[allowed], np.inf)) if allowed < good.size else -np.inf
