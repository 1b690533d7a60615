"""Detectors trained and calibrated, and what they say of frames. Knows nothing of codecs or archives."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.scored import Scored
from inspect_compress.errors import DetectorError, InspectCompressError
from inspect_compress.images import Image
from pipelines.detectors import Detector, Scores, is_trainable, load_detector, short_name
from pipelines.detectors.described import Describe, DescribingDetector
from pipelines.detectors.threshold import settle_threshold

MIN_TRAIN_DEFECTIVE = 8
"""Fewest defective train frames for a detector that learns from defects."""
TOO_FEW, FIXED = "too_few", "fixed"
"""Why a detector is left out: for want of defective train frames, or as it cannot be retrained."""

Sources = Mapping[str, str]
"""What each detector is loaded by: its name, or the path of its ONNX file, under the name that tables have."""
Views = Mapping[Describe | None, list[Any]]
"""Frames as detectors see them: per way of describing an image its descriptions, the images themselves under None."""

Describers = dict[Describe | None, Scored]


class Lesson(NamedTuple):
    """Frames to learn from: as they are seen, and `labels` (N,) bool, True where defective."""

    views: Views
    labels: NDArray[np.bool_]


@dataclass(frozen=True)
class TrainedDetector:
    """A detector as it was trained, with its threshold, which does not move any more."""

    scored: Scored
    detector: Detector
    threshold: float

    @property
    def name(self) -> str:
        """The detector's name."""
        return self.scored.detector

    def score(self, views: Views) -> Scores:
        """One float64 per frame, finite. Raises DetectorError, which names the detector."""
        return _scores(self.scored, self.detector, views)


def cast(detectors: Sequence[str], scenarios: Sequence[str], defective: int) -> tuple[list[Scored], dict[str, str]]:
    """Who judges the frames, frozen ones first, with `defective` train frames to learn from; and why others do not.

    Raises ConfigError for a name that is not known. The reasons are `TOO_FEW` and `FIXED`, per `Scored.column`.
    """
    scored: list[Scored] = []
    left_out: dict[str, str] = {}
    loaded = {short_name(name): load_detector(name) for name in detectors}
    able = {n: d for n, d in loaded.items() if defective >= MIN_TRAIN_DEFECTIVE or not d.needs_defects}
    for scenario in scenarios:
        for name, detector in able.items():
            candidate = Scored(name, scenario)
            if scenario == "frozen" or is_trainable(detector):
                scored.append(candidate)
            else:
                left_out[candidate.column] = FIXED
    return scored, {name: TOO_FEW for name in loaded if name not in able} | left_out


def describers(scored: Sequence[Scored], sources: Sources) -> Describers:
    """The ways in which the detectors see an image, each with one of them for errors to name."""
    found: Describers = {}
    for one in scored:
        found.setdefault(_describe_of(load_detector(sources[one.detector])), one)
    return found


def see(images: Sequence[Image], by: Describers, pool: Executor) -> Views:
    """The images as detectors see them, each described once. Raises DetectorError, which names the detector."""
    views: dict[Describe | None, list[Any]] = {}
    for describe, one in by.items():
        with _named(one, "cannot describe a frame"):
            views[describe] = list(images) if describe is None else list(pool.map(describe, images))
    return views


def joined(parts: Sequence[Views]) -> Views:
    """Several chunks of frames as one."""
    return {describe: [seen for part in parts for seen in part[describe]] for describe in parts[0]}


def train(
    scored: Sequence[Scored],
    sources: Sources,
    lesson: Lesson,
    calibration: Lesson,
    *,
    target_far: float,
    seed: int,
    pool: Executor,
) -> list[TrainedDetector]:
    """Train each on `lesson` and fix its threshold on `calibration`; side by side, the same for the same seed.

    Raises DetectorError, which names the detector, whatever it raised.
    """

    def trained(one: Scored) -> TrainedDetector:
        detector = load_detector(sources[one.detector])
        with _named(one, "cannot be trained"):
            if isinstance(detector, DescribingDetector):
                detector.fit_described(lesson.views[_describe_of(detector)], lesson.labels, seed=seed)
            else:
                detector.fit(lesson.views[None], lesson.labels, seed=seed)
        scores = _scores(one, detector, calibration.views)
        detector.threshold = settle_threshold(detector, scores, calibration.labels, target_far=target_far)
        return TrainedDetector(one, detector, detector.threshold)

    return list(pool.map(trained, scored))


def _describe_of(detector: Detector) -> Describe | None:
    return detector.describe if isinstance(detector, DescribingDetector) else None


def _scores(scored: Scored, detector: Detector, views: Views) -> Scores:
    seen = views[_describe_of(detector)]
    with _named(scored, "cannot score a frame"):
        given = (detector.score_described if isinstance(detector, DescribingDetector) else detector.score)(seen)
        scores = np.asarray(given, np.float64)
    if scores.shape != (len(seen),):
        raise DetectorError(f"{_called(scored)}: gave scores of shape {scores.shape} for {len(seen)} images")
    if not np.isfinite(scores).all():
        wrong = next(score for score in scores if not math.isfinite(score))
        raise DetectorError(f"{_called(scored)}: gave the score {wrong}, which is not a finite number")
    return scores


@contextmanager
def _named(scored: Scored, failure: str) -> Iterator[None]:
    """Turn whatever a detector raises into a DetectorError of one line that names it."""
    try:
        yield
    except InspectCompressError as error:
        raise DetectorError(f"{_called(scored)}: {error}") from error
    except Exception as error:  # a plant's detector may raise anything
        words = " ".join(str(error).split())
        raise DetectorError(f"{_called(scored)}: {failure}: {type(error).__name__}: {words}") from error


def _called(scored: Scored) -> str:
    return f"detector {scored.detector}" + (f" ({scored.scenario})" if scored.scenario != "frozen" else "")
