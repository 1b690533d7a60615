"""What every built-in detector asks of its training set before it starts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inspect_compress.errors import DetectorError
from pipelines.detectors import Labels

FEWEST = 5
"""Images of a class below which nothing can be learned about it."""


def checked_labels(images: Sequence[Any], labels: Labels, *, needs_defects: bool) -> Labels:
    """Return `labels` as an (N,) bool array where they fit `images` and there are enough of each class.

    Descriptions of images do as well. Raises DetectorError otherwise; defective ones are counted only where
    `needs_defects`.
    """
    if len(images) == 0:
        raise DetectorError("no images to train on; give the detector a training set")
    checked = np.asarray(labels, bool)
    if checked.shape != (len(images),):
        raise DetectorError(f"{len(images)} images but {checked.size} labels; give one label per image")
    counts = {"good": int((~checked).sum()), "defective": int(checked.sum())}
    for name in ("good", "defective") if needs_defects else ("good",):
        if counts[name] < FEWEST:
            raise DetectorError(
                f"only {counts[name]} {name} images to train on; add {name} images, at least {FEWEST}"
            )
    return checked
