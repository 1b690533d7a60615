"""Scores of frames that may fail one by one: what a detector cannot do with one says nothing about the others."""

import math
from collections.abc import Sequence

from inspect_compress.errors import DetectorError, InspectCompressError
from inspect_compress.images import Image
from pipelines.detectors import Detector


def scores_or_errors(detector: Detector, images: Sequence[Image]) -> list[float | DetectorError]:
    """For each image its score, a finite number, or why it has none. Where a batch fails, image by image."""
    try:
        scores = [float(score) for score in detector.score(images)]
    except Exception as error:  # a detector of another package may raise anything
        if len(images) == 1:
            return [_in_words(error)]
        return [result for image in images for result in scores_or_errors(detector, [image])]
    if len(scores) != len(images):
        return [DetectorError(f"the detector gave {len(scores)} scores for {len(images)} frames")] * len(images)
    return [
        score if math.isfinite(score) else DetectorError(f"the detector's score is {score}, not a finite number")
        for score in scores
    ]


def _in_words(error: Exception) -> DetectorError:
    if isinstance(error, DetectorError):
        return error
    kind = "" if isinstance(error, InspectCompressError) else f"{type(error).__name__}: "
    return DetectorError(f"the detector cannot score this frame: {kind}{' '.join(str(error).split())}")
