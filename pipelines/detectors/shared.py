"""One detector for several threads, one call at a time: few libraries promise more."""

import threading
from collections.abc import Sequence

from inspect_compress.images import Image
from pipelines.detectors import Detector, Labels, Scores


class SharedDetector:
    """A trained detector behind a lock."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._guard = threading.Lock()
        self.threshold = detector.threshold
        self.needs_defects = detector.needs_defects

    def fit(self, images: Sequence[Image], labels: Labels, *, seed: int = 0) -> "SharedDetector":
        """Train the detector."""
        with self._guard:
            self._detector.fit(images, labels, seed=seed)
        return self

    def score(self, images: Sequence[Image]) -> Scores:
        """One float64 per image."""
        with self._guard:
            return self._detector.score(images)
