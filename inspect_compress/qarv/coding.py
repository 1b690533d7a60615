"""Planes to the symbols of each level and back: the network's top-down path joined to what reads or writes them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inspect_compress.images import Image
from inspect_compress.qarv.entropy import LevelReader
from inspect_compress.qarv.exact import ExactPrediction
from inspect_compress.qarv.lapped import BLOCK
from inspect_compress.qarv.lmbda_map import LmbdaMap, grid, halved_map
from inspect_compress.qarv.network import Prediction, Shape, places_of, whole_cells
from inspect_compress.qarv.planes import Planes, to_planes
from inspect_compress.qarv.range_coder import Rows, Symbols
from inspect_compress.qarv.rounding import Rounder
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.threads import one_thread
from inspect_compress.qarv.weights import CodingNetwork

_HALVED_UP_TO = 1000.0
"""λ up to which difference planes are halved: half the time, and at small λ fewer bytes (docs/training.md)."""


_SMOOTHING = np.float32(0.15)
"""Of each neighbour, from one repeated row or column to the next."""
_BAND = 64
"""Steps of λ for which the encoder's features are the same: it hardly uses λ (docs/performance.md)."""


class SymbolWriter(Protocol):
    """Takes a level's symbols and their tables' rows; see LevelWriter."""

    def put(self, symbols: Symbols, rows: Rows) -> None: ...


BottomUp = tuple[Tensor, Tensor, Tensor]
Passes = list[tuple[Tensor, Any, Sequence[int]]]
"""For planes that are coded together: the features that `render` takes, its conditions, and the planes' size."""

PlaceBits = dict[int, NDArray[np.float64]]
"""Bits that the symbols at each place of a stride cost, `(h, w)`: the sum over the planes that are coded together."""


def difference_planes_are_halved(network: CodingNetwork, image: Image, indexes: LmbdaMap) -> bool:
    """Whether a picture with this map of λ has them at half size, unless a budget asks for it."""
    return image.ndim == 3 and network.shape.lmbda_of(int(indexes.max())) <= _HALVED_UP_TO


class Analysis:
    """What the encoder's bottom-up path makes of one image's planes, kept while λ stays in its band."""

    def __init__(self) -> None:
        self._band = b""
        self._kept: dict[tuple[int, ...], BottomUp] = {}

    def of(self, network: CodingNetwork, number: int, planes: Planes, indexes: LmbdaMap) -> BottomUp:
        """The features of the image's planes of that number, `(P, H, W)`, at the middle of each cell's band of λ."""
        middles = indexes // _BAND * _BAND + _BAND // 2
        if middles.tobytes() != self._band:
            self._band = middles.tobytes()
            self._kept.clear()
        key = (number, *planes.shape)
        if key not in self._kept:
            conditions = conditions_of(network, middles, *planes.shape)
            self._kept[key] = network.bottom_up(_extended(planes, network.shape), conditions)
        return self._kept[key]


def code_image(
    network: CodingNetwork,
    image: Image,
    indexes: LmbdaMap,
    rounding: Rounder,
    writers: Mapping[int, SymbolWriter],
    *,
    halved: bool,
    analysis: Analysis | None = None,
) -> Passes:
    """Code an image, `(H, W)` or `(H, W, 3)`, into a writer for each stride; returns what `render_parts` takes.

    `halved`: code difference planes at half size. `analysis`: of the same image at another λ, for use again.
    """
    passes: Passes = []
    with one_thread(), torch.inference_mode():
        for number, planes in enumerate(to_planes(image, halved=halved)):
            size = planes.shape[1:]
            encoder = (analysis or Analysis()).of(network, number, planes, indexes)
            conditions = conditions_of(network, indexes, *planes.shape)
            exchange = _Writing(rounding, writers, size, network.shape.margin)
            features = network.top_down(coded_size(network.shape, size), conditions, exchange, encoder)
            passes.append((features, conditions, size))
    return passes


def render_parts(network: CodingNetwork, passes: Passes) -> list[Planes]:
    """The planes that a decoder will make its picture of."""
    with one_thread(), torch.inference_mode():
        return [render_planes(network, *one) for one in passes]


def conditions_of(network: CodingNetwork, indexes: LmbdaMap, count: int, height: int, width: int) -> Any:
    """What the network makes of λ for planes `(count, height, width)` of a picture; two in one are halved."""
    halved = count == 2
    cells = halved_map(indexes, grid(height, width, network.shape.margin)) if halved else indexes
    if cells.min() == cells.max():
        cells = cells[:1, :1]
    return network.at(torch.tensor(cells, dtype=torch.int64), count, halved=halved)


def read_planes(
    network: CodingNetwork,
    shape: tuple[int, int, int],
    conditions: Any,
    readers: Mapping[int, LevelReader],
    *,
    all_places: bool,
    bits: PlaceBits | None = None,
) -> Planes:
    """The planes `(P, H, W)` that `readers` say; the latents of a stride without a reader are what is expected.

    `all_places`: whether places that do not reach the picture are in the file, as in version 1. `bits`, where
    given, are added to: what was read for each place.
    """
    size = shape[1:]
    exchange = _Reading(readers, None if all_places else size, network.shape.margin, bits)
    features = network.top_down(coded_size(network.shape, size), conditions, exchange)
    return render_planes(network, features, conditions, size)


def render_planes(network: CodingNetwork, features: Tensor, conditions: Any, size: Sequence[int]) -> Planes:
    """The planes `(P, H, W)` of the features of stride 8."""
    margin = network.shape.margin
    planes = network.render(features, conditions)[:, 0, margin : margin + size[0], margin : margin + size[1]]
    return planes.numpy()


@lru_cache(maxsize=16)
def coded_places(stride: int, places: Tensor, size: tuple[int, ...] | None, margin: int) -> Tensor:
    """Which of N places, counted row by row, reach a picture of this size, int64, `(M,)`: indexes from 0 to N - 1.

    The others' symbols are 0, and are not coded; without a size, all are.
    """
    if not margin or size is None:
        return torch.arange(len(places))
    columns = _extended_size(size, margin)[1] // stride
    last_row, last_column = ((side + 2 * margin - 1) // stride for side in size)
    return ((places // columns <= last_row) & (places % columns <= last_column)).nonzero().flatten()


def _at(places: Tensor, values: Tensor) -> Tensor:
    """Of `(B, N, Z)`, those at places, ascending, of the N; itself where that is all."""
    return values if len(places) == values.shape[1] else values.index_select(1, places)


class _Writing:
    """An exchange that rounds what the encoder wants, and writes it."""

    def __init__(
        self, rounding: Rounder, writers: Mapping[int, SymbolWriter], size: tuple[int, ...], margin: int
    ) -> None:
        self._rounding = rounding
        self._writers = writers
        self._size, self._margin = size, margin

    def __call__(self, prediction: Prediction | ExactPrediction, residual: Tensor | None) -> Tensor:
        assert residual is not None
        rows = prediction.rows
        steps = self._rounding(residual, rows)
        coded = coded_places(prediction.stride, prediction.places, self._size, self._margin)
        chosen = _at(coded, steps)
        symbols = chosen.flatten().to(torch.int32).numpy()
        self._writers[prediction.stride].put(symbols, _at(coded, rows).flatten().numpy())
        return steps if chosen is steps else torch.zeros_like(steps).index_copy_(1, coded, chosen)


class _Reading:
    """An exchange that reads what the encoder wrote."""

    def __init__(
        self,
        readers: Mapping[int, LevelReader],
        size: tuple[int, ...] | None,
        margin: int,
        bits: PlaceBits | None,
    ) -> None:
        self._readers = readers
        self._size, self._margin = size, margin
        self._bits = bits

    def __call__(self, prediction: Prediction | ExactPrediction, residual: Tensor | None) -> Tensor:
        rows = prediction.rows
        reader = self._readers.get(prediction.stride)
        if reader is None:
            return torch.zeros(rows.shape)
        coded = coded_places(prediction.stride, prediction.places, self._size, self._margin)
        chosen = _at(coded, rows)
        flat_rows = chosen.flatten().numpy()
        symbols = reader.get(flat_rows)
        if self._bits is not None:
            each = reader.bits_of_each(symbols, flat_rows).reshape(chosen.shape)
            places = prediction.places[coded].numpy()
            self._bits[prediction.stride].reshape(-1)[places] += each.sum((0, 2), dtype=np.float64)
        steps = torch.from_numpy(symbols).view_as(chosen).float()
        return steps if chosen is rows else torch.zeros(rows.shape).index_copy_(1, coded, steps)


def no_bits(shape: Shape, height: int, width: int) -> PlaceBits:
    """Zero for each place of planes of this size."""
    return {stride: np.zeros(places_of(coded_size(shape, (height, width)), stride)) for stride in STRIDES}


def coded_size(shape: Shape, size: Sequence[int]) -> tuple[int, int]:
    """The pixels that latents are coded for, of planes of this size."""
    return (size[0], size[1]) if shape.folded else _extended_size(size, shape.margin)


def _extended_size(size: Sequence[int], margin: int) -> tuple[int, int]:
    """The next multiples of 32 that leave a margin on each side."""
    height, width = (-(-(side + 2 * margin) // STRIDES[0]) * STRIDES[0] for side in size)
    return height, width


def _extended(planes: Planes, shape: Shape) -> Tensor:
    """`(P, H, W)` to `(P, 1, H', W')`, H' and W' multiples of 32.

    The border is repeated, up to whole blocks where patches are folded: there a little smoother with each row and
    column, so that less noise is coded outside the picture. What follows those blocks is mirrored.
    """
    size, margin = planes.shape[1:], shape.margin
    ends = [-(-side // BLOCK) * BLOCK for side in size] if shape.folded else _extended_size(size, margin)
    after = [end - side - margin for end, side in zip(ends, size, strict=True)]
    extended = np.pad(planes, [(0, 0), (margin, after[0]), (margin, after[1])], mode="edge")
    if shape.folded:
        _smooth(extended, size[0])
        _smooth(extended.swapaxes(1, 2), size[1])
    return whole_cells(torch.from_numpy(extended)[:, None])


def _smooth(planes: Planes, first: int) -> None:
    """Make each row of planes `(P, H, W)`, from the `first` on, a smoother one than the row before."""
    for row in range(first, planes.shape[1]):
        before = planes[:, row - 1]
        around = np.pad(before, ((0, 0), (1, 1)), mode="edge")
        planes[:, row] = before + _SMOOTHING * (around[:, :-2] - 2 * before + around[:, 2:])
