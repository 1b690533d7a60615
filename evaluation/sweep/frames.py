"""The dataset's frames as they came: read a chunk at a time, so that memory does not grow with their number."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspect_compress.images import Image, read_8_bit_image
from pipelines.datasets import Dataset, Item, read_mask

CHUNK_FRAMES = 128
"""Frames held in memory at once, as originals and as decoded frames of one codec and quality."""


class Frame(NamedTuple):
    """One original: its label, pixels, `mask` (bool `(H, W)`, or None), size as a file, and the file's time."""

    frame_id: str
    item: Item
    image: Image
    mask: NDArray[np.bool_] | None
    file_bytes: int
    captured_at: datetime


def frame_ids(dataset: Dataset, items: Iterable[Item]) -> list[str]:
    """A name for each frame: its path below the dataset's folder, or its whole path if it lies elsewhere."""
    return [frame_id(dataset.root, item) for item in items]


def chunked(items: Sequence[Item]) -> list[Sequence[Item]]:
    """`items` in their order, `CHUNK_FRAMES` at a time."""
    return [items[start : start + CHUNK_FRAMES] for start in range(0, len(items), CHUNK_FRAMES)]


def read_frames(root: Path, items: Sequence[Item], pool: Executor) -> list[Frame]:
    """Read frames and their masks. Raises ImageError and DatasetError, naming the file."""
    return list(pool.map(partial(read_frame, root), items))


def read_frame(root: Path, item: Item) -> Frame:
    """Read a frame and its mask. Errors as `read_frames`."""
    status = item.image.stat()
    image = read_8_bit_image(item.image)
    return Frame(
        frame_id=frame_id(root, item),
        item=item,
        image=image,
        mask=read_mask(item, image.shape),
        file_bytes=status.st_size,
        captured_at=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def frame_id(root: Path, item: Item) -> str:
    """A frame's name: see `frame_ids`."""
    path = item.image
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
