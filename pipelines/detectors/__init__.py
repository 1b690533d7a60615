"""What a detector is, and how one is found by name. The built-in ones live in their own modules.

Detectors are entry points of the group `inspect_compress.detectors`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inspect_compress.images import Image
from inspect_compress.plugins import load_plugin, plugin_names

GROUP = "inspect_compress.detectors"

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


class Detector(Protocol):
    """Scores images; higher is more defective. `fit` and `score` as in scikit-learn.

    The threshold is fixed once, on the originals of a calibration split, and never moved afterwards.
    """

    threshold: float
    """A score at or above it means defective. NaN until it is set."""
    needs_defects: bool
    """Whether `fit` needs defective images, or good ones only (and ignores the defective)."""

    def fit(self, images: Sequence[Image], labels: Labels, *, seed: int = 0) -> "Detector":
        """Train on `images`; `labels` is True where defective. Returns itself. Raises DetectorError."""
        ...

    def score(self, images: Sequence[Image]) -> Scores:
        """One float64 per image, finite, higher is more defective. Does not depend on batch mates."""
        ...


def load_detector(name: str) -> Detector:
    """Return an untrained detector by name. Raises ConfigError with the known names for an unknown one."""
    return load_plugin(GROUP, name, kind="detector")()


def detector_names() -> list[str]:
    """The names of all installed detectors, sorted."""
    return plugin_names(GROUP)
