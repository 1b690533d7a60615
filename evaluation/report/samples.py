"""Crops of test frames as the detector saw them: the original, and decoded at each codec and quality."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image as PillowImage

from inspect_compress.codecs import load_codec
from inspect_compress.images import Image, read_image
from pipelines.archive import Archive
from pipelines.datasets import Item, read_mask

FRAMES = 4
"""How many frames are shown at most."""
SIDE = (72, 176)
"""Least and largest side of a crop, in pixels."""
SURROUNDINGS = 24
"""Pixels shown around a defect's mask, in all."""


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


def take_samples(
    originals: pd.DataFrame, results: pd.DataFrame, archive: Archive, detector: str, threshold: float
) -> list[Sample]:
    """Cut samples out of the frames that the detector found on the originals with the least to spare."""
    codecs = {name: load_codec(name) for name in results["codec"].unique()}
    score = f"score_{detector}"
    samples = []
    for row in _closest_calls(originals, score, threshold).to_dict("records"):
        image = read_image(Path(row["image"]))
        mask = Path(row["mask"]) if row["mask"] else None
        box = _box(image, read_mask(Item(Path(row["image"]), row["defect"], mask, "", ""), image.shape))
        scores = results[results["frame_id"] == row["frame_id"]].set_index(["codec", "quality"])
        crops = []
        for record in archive.frames(where=pc.field("frame_id") == row["frame_id"]):
            own = scores.loc[(record.codec, record.quality)]
            decoded = _png(codecs[record.codec].decode(record.payload), box)
            crops.append(
                Crop(record.codec, record.quality, float(own["bpp"]), bool(own[score] >= threshold), decoded)
            )
        crops.sort(key=lambda crop: (list(codecs).index(crop.codec), -crop.quality))
        found = bool(row[score] >= threshold)
        samples.append(Sample(row["frame_id"], row["defect"], found, _png(image, box), tuple(crops)))
    return samples


def _closest_calls(originals: pd.DataFrame, score: str, threshold: float) -> pd.DataFrame:
    """One frame per kind of defect: the lowest score above the threshold, or else the highest below it."""
    defective = originals[originals["defect"] != ""]
    spare = (defective[score] - threshold).to_numpy()
    nearness = np.where(spare >= 0, spare, spare.max(initial=0.0) + 1 - spare)
    ranked = defective.assign(_nearness=nearness).sort_values("_nearness", kind="stable")
    return ranked.drop_duplicates("defect").head(FRAMES).drop(columns="_nearness")


def _box(image: Image, mask: NDArray[np.bool_] | None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a square around the mask, or in the middle where there is none."""
    height, width = image.shape[:2]
    x, y, extent = width / 2, height / 2, float(np.mean(SIDE))
    if mask is not None:
        ys, xs = np.nonzero(mask)
        if len(xs):
            x, y = (xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2
            extent = float(max(np.ptp(xs), np.ptp(ys))) + SURROUNDINGS
    side = int(min(max(extent, SIDE[0]), SIDE[1]))
    left, top = (
        int(min(max(centre - side / 2, 0), max(length - side, 0))) for centre, length in ((x, width), (y, height))
    )
    return left, top, min(left + side, width), min(top + side, height)


def _png(image: Image, box: Sequence[int]) -> bytes:
    left, top, right, bottom = box
    buffer = io.BytesIO()
    PillowImage.fromarray(image[top:bottom, left:right]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
