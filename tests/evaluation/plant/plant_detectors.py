"""A plant's own detectors as an installed package would add them: fast, and some of them faulty."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np


class SpotDetector:
    """Scores how far the brightest small spot stands out from the frame."""

    needs_defects = False
    threshold = float("nan")

    def fit(self, images: Sequence[Any], labels: Any, *, seed: int = 0) -> "SpotDetector":
        return self

    def score(self, images: Sequence[Any]) -> Any:
        return np.array([_spot(image) for image in images])


class TrainedSpotDetector(SpotDetector):
    """The same, for frames with defects to learn from."""

    needs_defects = True


class NotANumberDetector(SpotDetector):
    """Returns a score that is no number."""

    def score(self, images: Sequence[Any]) -> Any:
        return np.full(len(images), np.nan)


class TooFewScoresDetector(SpotDetector):
    """Forgets a frame."""

    def score(self, images: Sequence[Any]) -> Any:
        return super().score(images)[:-1]


def _spot(image: Any) -> float:
    grey = image.astype(np.float64) if image.ndim == 2 else image.mean(axis=2)
    return float((cv2.GaussianBlur(grey, (0, 0), 1.2) - cv2.GaussianBlur(grey, (0, 0), 6)).max())
