"""8-bit images for detectors, whatever the depth of the frames. The frames themselves stay as they are.

A detector sees `uint8` only. Deep frames are scaled for it by one rule, fixed by the images it learned from, so
that two frames of one camera are never scaled differently.
"""

import math
from collections.abc import Sequence

import numpy as np

from inspect_compress.errors import DetectorError
from inspect_compress.images import Image, bit_depth
from pipelines.detectors import Detector, Labels, Scores
from pipelines.detectors.threshold import own_threshold


class EightBitDetector:
    """A detector behind a scale to 8 bits.

    The depth is the largest of the training images'. A deep sample v becomes round(v · 255 / (2^depth − 1)), and
    255 where it is larger than that depth holds. 8-bit images are passed on as they are.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._depth = 0
        self.needs_defects = detector.needs_defects
        self.own_threshold = own_threshold(detector)
        self.threshold = math.nan

    def fit(self, images: Sequence[Image], labels: Labels, *, seed: int = 0) -> "EightBitDetector":
        """Train on `images`, all of 8 bits or all deep. Raises DetectorError, also where they are of both kinds."""
        depths = {bit_depth(image) for image in images}
        if 8 in depths and len(depths) > 1:
            raise DetectorError("the training frames are of 8 bits and of more; give frames of one camera setting")
        self._depth = max(depths, default=8)
        self._detector.fit([self._scaled(image) for image in images], labels, seed=seed)
        return self

    def score(self, images: Sequence[Image]) -> Scores:
        """One float64 per image. Raises DetectorError where 8-bit and deep images are mixed."""
        return self._detector.score([self._scaled(image) for image in images])

    def _scaled(self, image: Image) -> Image:
        if (image.dtype == np.uint8) != (self._depth == 8):
            raise DetectorError(
                f"a frame of {bit_depth(image)} bits, but the detector learned from frames of {self._depth}; "
                "train it on frames of the same kind"
            )
        if image.dtype == np.uint8:
            return image
        scaled = np.rint(image.astype(np.float64) * (255 / (2**self._depth - 1)))
        return np.minimum(scaled, 255).astype(np.uint8)
