"""Maps of λ: one index for each cell of 32×32 samples, and the few bytes that they take in a file.

A cell is most often what its neighbours to the left and above are, so it costs a fraction of a bit where these agree
and about one where they differ.
"""

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from inspect_compress.codecs import check_quality
from inspect_compress.demand import Priority
from inspect_compress.errors import DamagedFileError
from inspect_compress.qarv.network import LMBDA_STEPS, REACH, places_of
from inspect_compress.qarv.range_coder import decoder_of, stream_of
from inspect_compress.qarv.strides import STRIDES

LmbdaMap = NDArray[np.uint8]
"""Indexes of λ, one for each cell of `grid`."""


def _categorical(*sixteenths: float) -> Any:
    return constriction.stream.model.Categorical(np.array(sixteenths) / 16, perfect=False, lazy=False)


_WEIGHTS = 7
"""Steps that a mask's weights are rounded up to: few values make a small map."""

_ALIKE = _categorical(15, 1)
"""As both neighbours, or other."""
_UNLIKE = _categorical(7.5, 7.5, 1)
"""As the one to the left, the one above, or other."""


def grid(height: int, width: int, margin: int) -> tuple[int, int]:
    """Rows and columns of cells of a plane, for a network with this margin around it."""
    return places_of((height + 2 * margin, width + 2 * margin), STRIDES[0])


def everywhere(index: int, cells: tuple[int, int]) -> LmbdaMap:
    """The map of a plane with so many cells whose λ is the same all over."""
    return np.full(cells, index, np.uint8)


def offsets_of(priority: Priority, margin: int) -> NDArray[np.int64]:
    """Steps of λ above the background's, for each cell: as the largest weight of the mask that it shows."""
    height, width = priority.mask.shape
    cells = grid(height, width, margin)
    weights = np.zeros(cells)
    for row, column in np.ndindex(cells):
        shown = priority.mask[_shown(row, margin), _shown(column, margin)]
        weights[row, column] = np.ceil(shown.max(initial=0) / 255 * _WEIGHTS) / _WEIGHTS
    lowest, highest = index_of(priority.background_quality), index_of(priority.priority_quality)
    return np.rint(weights * (highest - lowest)).astype(np.int64)


def _shown(cell: int, margin: int) -> slice:
    """The samples along an axis that a cell shows a part of."""
    start = cell * STRIDES[0] - margin
    return slice(max(0, start - REACH), start + STRIDES[0] + REACH)


def index_of(quality: int) -> int:
    """The index of λ for a quality from 1 to 100: 0 to 255, linear."""
    return round((check_quality(quality) - 1) / 99 * (LMBDA_STEPS - 1))


def quality_of(index: int) -> int:
    """The quality, 1 to 100, that is nearest to an index of λ."""
    return round(1 + index / (LMBDA_STEPS - 1) * 99)


def halved_map(indexes: LmbdaMap, cells: tuple[int, int]) -> LmbdaMap:
    """The map for planes of half the size, which have so many cells: the largest of the four cells of each."""
    rows, columns = (
        np.minimum(np.arange(2 * count).reshape(count, 2), side - 1)
        for count, side in zip(cells, indexes.shape, strict=True)
    )
    return indexes[rows[:, :, None, None], columns[None, None]].max(axis=(1, 3))


def write_map(indexes: LmbdaMap) -> tuple[int, bytes]:
    """The most frequent index, and the map beside it; empty where there is no other."""
    values, cells, counts = np.unique(indexes, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    palette = values[order]
    if len(palette) == 1:
        return int(palette[0]), b""
    encoder = constriction.stream.queue.RangeEncoder()
    other = constriction.stream.model.Uniform(len(palette))
    numbers: list[list[int]] = [line.tolist() for line in np.argsort(order)[cells].reshape(indexes.shape)]
    for row in range(len(numbers)):
        for column, number in enumerate(numbers[row]):
            left, above = _neighbours(numbers, row, column)
            guesses = [left] if left == above else [left, above]
            choice = guesses.index(number) if number in guesses else len(guesses)
            encoder.encode(choice, _ALIKE if len(guesses) == 1 else _UNLIKE)
            if choice == len(guesses):
                encoder.encode(number, other)
    return int(palette[0]), bytes([len(palette) - 1, *palette[1:]]) + stream_of(encoder)


def read_map(index: int, data: bytes, cells: tuple[int, int]) -> LmbdaMap:
    """The map of a plane with so many cells, from what `write_map` made. Raises DamagedFileError."""
    rows, columns = cells
    if not data:
        return everywhere(index, cells)
    palette = np.array(palette_of(index, data), np.uint8)
    decoder = decoder_of(data[len(palette) :])
    other = constriction.stream.model.Uniform(len(palette))
    numbers = [[0] * columns for _ in range(rows)]
    try:
        for row in range(rows):
            for column in range(columns):
                left, above = _neighbours(numbers, row, column)
                guesses = [left] if left == above else [left, above]
                choice = int(decoder.decode(_ALIKE if len(guesses) == 1 else _UNLIKE))
                numbers[row][column] = guesses[choice] if choice < len(guesses) else int(decoder.decode(other))
    except AssertionError as error:
        raise DamagedFileError("is damaged: its map of λ cannot be read") from error
    return palette[np.array(numbers)]


def palette_of(index: int, data: bytes) -> list[int]:
    """The indexes that are in a map, from what `write_map` made. Raises DamagedFileError."""
    others = data[1 : 1 + data[0]]
    if not others or len(others) != data[0]:
        raise DamagedFileError("is damaged: its map of λ has no values")
    return [index, *others]


def _neighbours(numbers: list[list[int]], row: int, column: int) -> tuple[int, int]:
    """Those to the left and above; 0, the file's own index, where the picture ends."""
    return numbers[row][column - 1] if column else 0, numbers[row - 1][column] if row else 0
