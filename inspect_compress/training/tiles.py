"""The frames that an adaptation works on: one tile of each, in a folder with a list of where it is from."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspect_compress.errors import DatasetError
from inspect_compress.files import write_file
from inspect_compress.images import Image, read_8_bit_image, write_png
from inspect_compress.training.data import HELD_OUT, LABELS

TILE = 768
"""Pixels of a tile's side; a larger frame is cut, so that time and memory do not depend on the camera."""
MOST_TRAIN, MOST_HELD_OUT = 300, 16
"""Frames to learn from, and to measure on, taken evenly spaced from more."""
FEWEST = 8


@dataclass(frozen=True)
class Frames:
    """Image files to learn from and others to measure on; `name` is for cards and reports."""

    name: str
    train: Sequence[Path]
    held_out: Sequence[Path]


def divided(name: str, files: Sequence[Path]) -> Frames:
    """Every fifth file held out, but at most MOST_HELD_OUT, evenly spaced. Raises DatasetError for too few."""
    if len(files) < FEWEST:
        raise DatasetError(f"{name}: has {len(files)} frames; {FEWEST} or more are needed")
    held_out = _spaced(files, min(MOST_HELD_OUT, len(files) // 5))
    chosen = set(held_out)
    return Frames(name, [file for file in files if file not in chosen], held_out)


def cut_tiles(frames: Frames, folder: Path) -> None:
    """Write a tile of each frame into `folder`, and its `labels.csv`. The same frames give the same tiles."""
    if min(len(frames.train), len(frames.held_out)) < 1:
        raise DatasetError(f"{frames.name}: has no frames to learn from, or none to measure on")
    rows = []
    for split, files, most in (("train", frames.train, MOST_TRAIN), (HELD_OUT, frames.held_out, MOST_HELD_OUT)):
        for number, file in enumerate(_spaced(files, most)):
            name = f"{split}-{number:04}.png"
            write_png(folder / name, _tile(read_8_bit_image(file), number), overwrite=True)
            rows.append({"image": name, "split": split, "from": str(file)})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["image", "split", "from"])
    writer.writeheader()
    writer.writerows(rows)
    write_file(folder / LABELS, text.getvalue().encode(), overwrite=True)


def _tile(image: Image, number: int) -> Image:
    rng = np.random.default_rng(number)
    top, left = (int(rng.integers(max(0, side - TILE) + 1)) for side in image.shape[:2])
    return image[top : top + TILE, left : left + TILE]


def _spaced(files: Sequence[Path], most: int) -> list[Path]:
    count = min(most, len(files))
    return [files[position * len(files) // count] for position in range(count)]
