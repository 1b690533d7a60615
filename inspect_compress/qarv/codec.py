"""The QARV codec: images to `.qarv` files and back. Joins the network, the entropy coder and the container."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from inspect_compress.codecs import check_quality
from inspect_compress.errors import OutOfStepError
from inspect_compress.images import Image, check_image
from inspect_compress.qarv.container import Container, Level
from inspect_compress.qarv.entropy import SYMBOL_LIMIT, LevelReader, LevelWriter, Models, Rows, Symbols
from inspect_compress.qarv.exact import ExactPrediction
from inspect_compress.qarv.network import LMBDA_STEPS, MARGIN, Prediction
from inspect_compress.qarv.planes import Planes, from_planes, plane_shapes, to_planes
from inspect_compress.qarv.rounding import Rounding
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.strips import by_strips, rows_of
from inspect_compress.qarv.threads import one_thread, side_by_side
from inspect_compress.qarv.weights import CodingNetwork, Model, default_fingerprint, installed_model

_HALVED_UP_TO = 1000.0
"""λ up to which difference planes are halved: half the time, and at small λ fewer bytes (docs/training.md)."""


@dataclass(frozen=True)
class Encoded:
    """A file's bytes, and the picture that the encoder says it decodes to."""

    data: bytes
    reconstruction: Image


class QarvCodec:
    """`encode(image, quality=60) -> bytes`, `decode(data) -> image`, for any installed model.

    New files are made with `model`, by default the package's own; any installed model's files are decoded.
    """

    codec_id = "qarv"
    suffix = ".qarv"

    def __init__(self, model: Model | None = None) -> None:
        self._model = model or installed_model(default_fingerprint())
        self.model = self._model.fingerprint
        self._rounding = Rounding(self._model.tables)
        self._tables = {self.model: Models(self._model.tables)}

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`, sides 1 to 8192; quality 1 (small) to 100 (best).

        Raises ImageError and ConfigError.
        """
        return self._encode(check_image(image), lmbda_index(quality))[0].to_bytes()

    def encode_and_reconstruct(self, image: Image, *, quality: int) -> Encoded:
        """As `encode`; with the picture that `decode` will return."""
        return self.encode_at(image, lmbda_index(quality))

    def encode_at(self, image: Image, index: int) -> Encoded:
        """As `encode_and_reconstruct`, at an index of λ from 0 to 255: finer than quality."""
        container, parts = self._encode(check_image(image), index, render=True)
        return Encoded(container.to_bytes(), from_planes(parts))

    def encode_batch(self, images: Sequence[Image], *, quality: int) -> list[bytes]:
        """As `encode`, for several images side by side: the same bytes."""
        return side_by_side(lambda image: self.encode(image, quality=quality), images)

    def decode_batch(self, files: Sequence[bytes]) -> list[Image]:
        """As `decode`, for several files side by side: the same pictures."""
        return side_by_side(self.decode, files)

    def decode(self, data: bytes) -> Image:
        """The picture in a `.qarv` file, `uint8`, `(H, W)` or `(H, W, 3)`.

        Raises DamagedFileError, UnknownVersionError, UnknownModelError or OutOfStepError; never returns a
        picture that is not what the encoder reconstructed.
        """
        container = Container.from_bytes(data)
        model = self._model if container.model == self.model else installed_model(container.model)
        models = self._tables.setdefault(model.fingerprint, Models(model.tables))
        readers = {level.stride: LevelReader(models, level.data) for level in container.levels}
        network = model.network
        shapes = plane_shapes(container.height, container.width, container.channels, halved=container.halved)
        parts = []
        with one_thread(), torch.inference_mode():
            for count, *size in shapes:
                conditions = network.at(container.lmbda_index, count, halved=count == 2)
                features = network.top_down(_padded_size(*size), conditions, _Reading(readers))
                parts.append(_crop(network.render(features, conditions), size))
        if any(readers[level.stride].crc != level.symbols_crc for level in container.levels):
            raise OutOfStepError
        return from_planes(parts)

    def _encode(self, image: Image, index: int, *, render: bool = False) -> tuple[Container, list[Planes]]:
        network = self._model.network
        writers = {stride: LevelWriter(self._tables[self.model]) for stride in STRIDES}
        height, width = image.shape[:2]
        channels = 1 if image.ndim == 2 else 3
        parts, halved = prepare(network, image, index)
        rendered = []
        with one_thread(), torch.inference_mode():
            for planes in parts:
                conditions = network.at(index, len(planes), halved=len(planes) == 2)
                features = write_planes(network, planes, conditions, self._rounding, writers)
                if render:
                    rendered.append(_crop(network.render(features, conditions), planes.shape[1:]))
        levels = tuple(Level(stride, writer.finish(), writer.crc) for stride, writer in writers.items())
        return Container(width, height, channels, 8, self.model, index, levels, halved), rendered


def lmbda_index(quality: int) -> int:
    """The index of λ for a quality from 1 to 100: 0 to 255, linear."""
    return round((check_quality(quality) - 1) / 99 * (LMBDA_STEPS - 1))


def prepare(network: CodingNetwork, image: Image, index: int) -> tuple[list[Planes], bool]:
    """An image's planes as coded at an index of λ, and whether the difference planes, two in one, are halved."""
    halved = image.ndim == 3 and network.shape.lmbda_of(index) <= _HALVED_UP_TO
    return to_planes(image, halved=halved), halved


class SymbolWriter(Protocol):
    """Takes a level's symbols and their tables' rows; see LevelWriter."""

    def put(self, symbols: Symbols, rows: Rows) -> None: ...


def write_planes(
    network: CodingNetwork,
    planes: Planes,
    conditions: Any,
    rounding: Rounding,
    writers: Mapping[int, SymbolWriter],
) -> Tensor:
    """Code planes, `(P, H, W)`, into a writer for each stride; returns the features that `render` takes."""
    encoder = network.bottom_up(_pad(planes), conditions)
    return network.top_down(_padded_size(*planes.shape[1:]), conditions, _Writing(rounding, writers), encoder)


class _Writing:
    """An exchange that rounds the residual to what the encoder wants, and writes it."""

    def __init__(self, rounding: Rounding, writers: Mapping[int, SymbolWriter]) -> None:
        self._rounding = rounding
        self._writers = writers

    def __call__(self, prediction: Prediction | ExactPrediction, latent: Tensor | None) -> Tensor:
        mean, rows = prediction.mean, prediction.rows
        assert latent is not None
        assert mean is not None

        def part(start: int, stop: int) -> Tensor:
            residual = latent[:, start:stop] - mean[:, start:stop]
            residual = residual * rows_of(prediction.gain, start, stop)
            return self._rounding(residual, rows[:, start:stop]).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)

        steps = by_strips(part, latent, latent.shape[1], 1, latent.shape[2])
        symbols = steps.flatten().to(torch.int32).numpy()
        self._writers[prediction.stride].put(symbols, rows.flatten().numpy())
        return steps


class _Reading:
    """An exchange that reads what the encoder wrote."""

    def __init__(self, readers: dict[int, LevelReader]) -> None:
        self._readers = readers

    def __call__(self, prediction: Prediction | ExactPrediction, latent: Tensor | None) -> Tensor:
        rows = prediction.rows
        symbols = self._readers[prediction.stride].get(rows.flatten().numpy())
        return torch.from_numpy(symbols.astype(np.float32)).view_as(rows)


def _padded_size(height: int, width: int) -> tuple[int, int]:
    coarsest = STRIDES[0]
    return tuple(-(-(side + 2 * MARGIN) // coarsest) * coarsest for side in (height, width))  # type: ignore[return-value]


def _pad(planes: Planes) -> Tensor:
    """`(P, H, W)` to `(P, 1, H', W')`, multiples of 32, by repeating the border at least MARGIN times."""
    sides = planes.shape[1:]
    pads = [(MARGIN, padded - side - MARGIN) for padded, side in zip(_padded_size(*sides), sides, strict=True)]
    return torch.from_numpy(np.pad(planes, [(0, 0), *pads], mode="edge"))[:, None]


def _crop(planes: Tensor, size: Sequence[int]) -> Planes:
    return planes[:, 0, MARGIN : MARGIN + size[0], MARGIN : MARGIN + size[1]].numpy()
