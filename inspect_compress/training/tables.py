"""Probability tables fitted to what the trained network really codes, instead of an assumed Gaussian."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspect_compress.images import Image
from inspect_compress.qarv.coding import code_image, difference_planes_are_halved
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.lmbda_map import everywhere, grid, index_of
from inspect_compress.qarv.rounding import Rounding
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.tables import TOTAL, gaussian_tables, radius, to_frequencies
from inspect_compress.qarv.weights import CodingNetwork

_QUALITIES = (5, 20, 35, 50, 65, 80, 95)
_GAUSSIAN_WEIGHT = 300.0
"""Symbols that the Gaussian counts for beside those that were seen."""


class _Counter:
    """Takes symbols as a LevelWriter does, and counts them by row."""

    def __init__(self) -> None:
        self.counts = [np.zeros(2 * radius(row) + 2) for row in range(SCALE_STEPS)]

    def put(self, symbols: NDArray[np.int32], rows: NDArray[np.uint8]) -> None:
        for row in np.unique(rows):
            r = radius(row)
            seen = symbols[rows == row]
            inside = seen[np.abs(seen) <= r]
            counts = np.bincount(inside + r, minlength=2 * r + 1)
            self.counts[row][:-1] += (counts + counts[::-1]) / 2
            self.counts[row][-1] += len(seen) - len(inside)


def fit_tables(network: CodingNetwork, images: Sequence[Image]) -> list[NDArray[np.int32]]:
    """Tables as `gaussian_tables`, from the symbols of `images` over the whole range of λ, made symmetric."""
    counter = _Counter()
    rounding = Rounding(gaussian_tables())
    for number, image in enumerate(images):
        index = index_of(_QUALITIES[number % len(_QUALITIES)])
        indexes = everywhere(index, grid(image.shape[0], image.shape[1], network.shape.margin))
        halved = difference_planes_are_halved(network, image, indexes)
        code_image(network, image, indexes, rounding, dict.fromkeys(STRIDES, counter), halved=halved)
    return [
        to_frequencies(counts + _GAUSSIAN_WEIGHT * assumed / TOTAL)
        for counts, assumed in zip(counter.counts, gaussian_tables(), strict=True)
    ]
