"""Training crops: planes cut at random from images held in memory, the same sequence for the same seed."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import DatasetError
from inspect_compress.files import read_text
from inspect_compress.images import Image, halved, list_images, read_8_bit_image
from inspect_compress.qarv.lapped import BLOCK
from inspect_compress.qarv.planes import to_planes
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.training.config import SourceConfig

LABELS = "labels.csv"
HELD_OUT = "held_out"
"""The split of frames that the first source's labels set aside for the validation curve."""

_COLOUR_PLANE_PART = 0.4


@dataclass(frozen=True)
class Source:
    """Images to cut from, the share of crops that come from them, and the part of those at half size."""

    images: Sequence[Image]
    weight: float
    halved: float = 0.3


def image_files(source: SourceConfig) -> list[Path]:
    """The images of a source: rows of split `train` of a labels.csv, or all images of a folder."""
    labels = _labels(source)
    if not labels.is_file():
        return list_images(source.path)
    files = _rows(labels, "train")
    if not files:
        raise DatasetError(f"{labels}: has no rows of split `train`")
    return files


def load_held_out(source: SourceConfig) -> list[Image]:
    """The images in rows of split `held_out` of a source's labels.csv; none where there is no such file."""
    labels = _labels(source)
    return [read_8_bit_image(file) for file in _rows(labels, HELD_OUT)] if labels.is_file() else []


def _labels(source: SourceConfig) -> Path:
    return source.path / LABELS if source.path.is_dir() else source.path


def _rows(labels: Path, split: str) -> list[Path]:
    rows = list(csv.DictReader(io.StringIO(read_text(labels))))
    if rows and "image" not in rows[0]:
        raise DatasetError(f"{labels}: has no column `image`")
    return [labels.parent / row["image"] for row in rows if row.get("split", "train") == split]


def load_sources(configs: Sequence[SourceConfig], held_out: int) -> tuple[list[Source], list[Image]]:
    """Read all images to learn from, and those of the first source that are held out of them.

    These are the rows of split `held_out`, or, where there are none, `held_out` evenly spaced ones.
    """
    sources, validation = [], []
    for number, config in enumerate(configs):
        files = image_files(config)
        if number == 0:
            validation = load_held_out(config)
        if number == 0 and not validation:
            chosen = set(files[:: max(1, len(files) // held_out)][:held_out])
            validation = [read_8_bit_image(file) for file in sorted(chosen)]
            files = [file for file in files if file not in chosen]
        sources.append(Source([read_8_bit_image(file) for file in files], config.weight, config.halved))
    return sources, validation


def spread_over(sources: Sequence[Source], count: int) -> list[Image]:
    """At most `count` images of each source, evenly spaced, the sources in turn."""
    chosen = [source.images[:: -(-len(source.images) // count)] for source in sources]
    return [image for images in zip_longest(*chosen) for image in images if image is not None]


class Crops:
    """Random crops as planes `(B, 1, size, size)`, float32; the outer `margin` samples repeat the crop's border.
    Without a margin some are up to 24 samples lower or narrower, since not all pictures have multiples of 32.

    Some are halved by an area filter first, with `halve_large` all that are large enough. Colour images give their
    difference planes as well; all are mirrored and transposed at random.
    """

    def __init__(self, sources: Sequence[Source], size: int, *, margin: int = 0, halve_large: bool = True) -> None:
        self.sources = sources
        self.halve_large = halve_large
        self.size = size
        self.margin = margin
        weights = np.array([source.weight for source in sources])
        self.weights = weights / weights.sum()

    def batch(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        crops = np.stack([self._crop(rng)[None] for _ in range(count)])
        if self.margin:
            return crops
        height, width = self.size - BLOCK * rng.integers(STRIDES[0] // BLOCK, size=2)
        return crops[..., :height, :width]

    def _crop(self, rng: np.random.Generator) -> NDArray[np.float32]:
        source = self.sources[rng.choice(len(self.sources), p=self.weights)]
        image = source.images[int(rng.integers(len(source.images)))]
        inner = self.size - 2 * self.margin
        is_large = min(image.shape[:2]) >= 2 * inner
        if (is_large and self.halve_large) or rng.random() < source.halved:
            image = halved(image)
        image = _cut(_at_least(image, inner), inner, rng)
        planes = np.concatenate(to_planes(image))
        plane = planes[0]
        if len(planes) == 3 and rng.random() < _COLOUR_PLANE_PART:
            plane = planes[rng.integers(1, 3)]
        if rng.random() < 0.5:
            plane = plane.T
        plane = plane[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        return np.pad(plane, self.margin, mode="edge")


def _at_least(image: Image, side: int) -> Image:
    height, width = image.shape[:2]
    if height >= side and width >= side:
        return image
    pad = [(0, max(0, side - height)), (0, max(0, side - width))] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, pad, mode="symmetric")


def _cut(image: Image, side: int, rng: np.random.Generator) -> Image:
    top = rng.integers(image.shape[0] - side + 1)
    left = rng.integers(image.shape[1] - side + 1)
    return image[top : top + side, left : left + side]
