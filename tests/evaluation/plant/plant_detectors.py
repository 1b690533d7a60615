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


class FinishDetector(SpotDetector):
    """Scores the same, or how strongly the surface alternates from pixel to pixel somewhere, whichever is more."""

    def score(self, images: Sequence[Any]) -> Any:
        return np.array([max(_spot(image), 6 * _alternation(image)) for image in images])


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


def _alternation(image: Any) -> float:
    signs = 1 - 2.0 * (np.indices(image.shape).sum(axis=0) % 2)
    return float(np.abs(cv2.GaussianBlur((image - image.mean()) * signs, (0, 0), 3)).max())


class SharpnessDetector(SpotDetector):
    """Scores how much sharper a frame is than those it was trained on are on average."""

    def fit(self, images: Sequence[Any], labels: Any, *, seed: int = 0) -> "SharpnessDetector":
        self.usual = float(np.mean([sharpness(image) for image in images]))
        return self

    def score(self, images: Sequence[Any]) -> Any:
        return np.array([sharpness(image) - self.usual for image in images])


class FixedDetector(SpotDetector):
    """Comes trained, as a file of weights does."""

    trainable = False


class FailingDetector(SpotDetector):
    """Raises what its authors did not think of."""

    def score(self, images: Sequence[Any]) -> Any:
        raise RuntimeError("camera\n  not found")


def sharpness(image: Any) -> float:
    """Mean size of the differences between neighbours."""
    return float(np.abs(np.diff(image.astype(np.float64), axis=1)).mean())
