"""What a detector is, and how one is found by name. The built-in ones live in their own modules.

Detectors are entry points of the group `inspect_compress.detectors`, or ONNX files (`pipelines.detectors.onnx`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inspect_compress.images import Image
from inspect_compress.plugins import load_plugin, plugin_names

GROUP = "inspect_compress.detectors"
MODEL_SUFFIX = ".onnx"

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


class Detector(Protocol):
    """Scores images; higher is more defective. `fit` and `score` as in scikit-learn.

    The threshold is fixed once, on the originals of a calibration split, and never moved afterwards.

    Three attributes may be left out. `trainable`: False where `fit` changes nothing, so that there is nothing to
    retrain. `own_threshold`: the threshold that the plant uses; where it is a number, nothing is calibrated.
    `model`: a fingerprint of weights that came from a file.
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
    """Return an untrained detector by name, or that of an ONNX file by its path.

    Raises ConfigError with the known names for an unknown one, DetectorError for a file that cannot be used.
    """
    if is_model_file(name):
        from pipelines.detectors.onnx import OnnxDetector

        return OnnxDetector(Path(name).expanduser())
    return load_plugin(GROUP, name, kind="detector")()


def is_trainable(detector: Detector) -> bool:
    """Whether `fit` teaches the detector anything."""
    return bool(getattr(detector, "trainable", True))


def is_model_file(name: str) -> bool:
    """Whether a detector's name is the path of an ONNX file."""
    return Path(name).suffix.lower() == MODEL_SUFFIX


def short_name(name: str) -> str:
    """The name of a detector in tables and reports: `models/mine.onnx` is `mine`, others keep theirs."""
    return Path(name).stem if is_model_file(name) else name


def detector_names() -> list[str]:
    """The names of all installed detectors, sorted."""
    return plugin_names(GROUP)
