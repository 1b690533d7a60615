"""Crops of test frames as the detector saw them, and which frames are worth showing. `evaluation.crops` cuts them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

FRAMES = 4
"""How many frames are shown at most."""


@dataclass(frozen=True)
class Crop:
    """A decoded crop as a PNG file, the frame's own bits per pixel, and whether the detector found it."""

    codec: str
    quality: int
    bpp: float
    found: bool
    png: bytes


@dataclass(frozen=True)
class Sample:
    """One frame: the original's crop as a PNG file, and the decoded ones, best quality first per codec."""

    frame_id: str
    defect: str
    found: bool
    original: bytes
    crops: tuple[Crop, ...]


def closest_calls(originals: pd.DataFrame, score: str, threshold: float) -> pd.DataFrame:
    """One frame per kind of defect: the lowest score above the threshold, or else the highest below it."""
    defective = originals[originals["defect"] != ""]
    spare = (defective[score] - threshold).to_numpy()
    nearness = np.where(spare >= 0, spare, spare.max(initial=0.0) + 1 - spare)
    ranked = defective.assign(_nearness=nearness).sort_values("_nearness", kind="stable")
    return ranked.drop_duplicates("defect").head(FRAMES).drop(columns="_nearness")
