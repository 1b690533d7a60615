"""Masks of defects, read from their image files. Where they lie is the readers' business."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from inspect_compress.errors import DatasetError
from inspect_compress.files import read_file
from inspect_compress.images import PICTURE_FORMATS
from pipelines.datasets.items import Item


def read_mask(item: Item, shape: Sequence[int]) -> NDArray[np.bool_] | None:
    """Where the defect is: bool `(H, W)`, true where the mask is not black; None where there is no mask.

    `shape` is that of the image. Raises DatasetError where the mask cannot be read, or is of another size.
    """
    if item.mask is None:
        return None
    try:
        with PillowImage.open(io.BytesIO(read_file(item.mask)), formats=PICTURE_FORMATS) as file:
            mask = np.asarray(file.convert("L")) > 0
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise DatasetError(f"{item.mask}: the mask cannot be read: {error}") from error
    if mask.shape != tuple(shape[:2]):
        sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels, its image {shape[1]}x{shape[0]}"
        raise DatasetError(f"{item.mask}: the mask is {sizes}; they must be alike")
    return mask
