"""The QARV codec: images to `.qarv` files and back. Joins the network, the entropy coder and the container."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from inspect_compress.demand import Demand, Priority
from inspect_compress.errors import ConfigError, CutShortError, OutOfStepError
from inspect_compress.images import Image, check_image
from inspect_compress.models.registry import fingerprint_to_encode_with
from inspect_compress.qarv.coding import (
    Analysis,
    PlaceBits,
    conditions_of,
    difference_planes_are_halved,
    no_bits,
    read_planes,
)
from inspect_compress.qarv.container import Container, Header, Level
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.draft import Draft
from inspect_compress.qarv.entropy import LevelReader
from inspect_compress.qarv.expectation import expect
from inspect_compress.qarv.lmbda_map import LmbdaMap, grid, index_of, offsets_of, read_map, write_map
from inspect_compress.qarv.network import LMBDA_STEPS
from inspect_compress.qarv.planes import plane_shapes
from inspect_compress.qarv.rate_control import at_least, within_bytes
from inspect_compress.qarv.rounding import PRICE
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.threads import one_thread, side_by_side
from inspect_compress.qarv.weights import Model, default_fingerprint, installed_model


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
        self.margin = self._model.network.shape.margin
        """Pixels that planes are extended by at the top and at the left."""

    @classmethod
    def with_model(cls, fingerprint: str) -> Self:
        """The codec that encodes with an installed model whose fingerprint begins so.

        Raises UnknownModelError, and ModelError for a retired one.
        """
        return cls(installed_model(fingerprint_to_encode_with(fingerprint)))

    def encode(
        self,
        image: Image,
        *,
        quality: int | None = None,
        bpp: float | None = None,
        max_bytes: int | None = None,
        min_psnr: float | None = None,
        min_ms_ssim: float | None = None,
        priority: Priority | None = None,
    ) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`, sides 1 to 8192, as one `Demand` says.

        Of a size at least 97 % are used, or all but 8 bytes, unless the best file needs less. Of the files with a
        fidelity, it is the one of the lowest λ. Raises ImageError, and ConfigError where a demand is wrong or
        impossible.
        """
        return self.draft(image, Demand(quality, bpp, max_bytes, min_psnr, min_ms_ssim, priority)).data

    def encode_and_reconstruct(self, image: Image, *, quality: int) -> Encoded:
        """As `encode`; with the picture that `decode` will return."""
        draft = self.draft(image, Demand(quality))
        return Encoded(draft.data, draft.reconstruction)

    def encode_at(self, image: Image, index: int | LmbdaMap) -> Encoded:
        """As `encode_and_reconstruct`, at an index of λ from 0 to 255, finer than quality; or at one a cell."""
        draft = self._draft(image, index)
        return Encoded(draft.data, draft.reconstruction)

    def draft(self, image: Image, demand: Demand) -> Draft:
        """As `encode`: the file as `data`, and the picture that `decode` will return as `reconstruction`."""
        check_image(image)
        if demand.quality is not None:
            return self._draft(image, index_of(demand.quality))
        offsets = np.zeros((1, 1), np.int64)
        if demand.priority:
            demand.priority.check_fits(image)
            offsets = offsets_of(demand.priority, self.margin)

        analysis = Analysis()

        def at(index: int, price: float = PRICE, halved: bool | None = None) -> Draft:
            indexes = np.clip(index + offsets, 0, LMBDA_STEPS - 1).astype(np.uint8)
            return self._draft(image, indexes, price, halved=halved, analysis=analysis)

        expectation = expect(image, self._model.network.shape.lmbdas())
        budget = demand.budget(image)
        if budget is not None:
            return within_bytes(at, expectation.log_bytes, budget)
        if demand.min_psnr or demand.min_ms_ssim:
            return at_least(at, expectation, demand, image)
        assert demand.priority
        return at(index_of(demand.priority.background_quality))

    def encode_batch(self, images: Sequence[Image], *, quality: int) -> list[bytes]:
        """As `encode`, for several images side by side: the same bytes."""
        return side_by_side(lambda image: self.encode(image, quality=quality), images)

    def decode_batch(self, files: Sequence[bytes]) -> list[Image]:
        """As `decode`, for several files side by side: the same pictures."""
        return side_by_side(self.decode, files)

    def decode(self, data: bytes, *, levels: int | None = None) -> Image:
        """The picture in a `.qarv` file, `uint8`, `(H, W)` or `(H, W, 3)`.

        With `levels` (1 to 3) a preview from the first levels alone, for which the file may be cut short after them.

        Raises DamagedFileError, UnknownVersionError, UnknownModelError or OutOfStepError; never returns a
        picture that is not what the encoder reconstructed.
        """
        container = read_container(data, prefix=levels is not None)
        return self._decode(container, _first(container, levels, len(data)))

    def decode_and_count(self, data: bytes) -> tuple[Image, list[PlaceBits]]:
        """As `decode`; with the bits at each place of the latents, for each of what `plane_shapes` says."""
        container = read_container(data)
        header = container.header
        network = self._model_of(header).network
        shapes = plane_shapes(header.height, header.width, header.channels, halved=header.halved)
        bits = [no_bits(network.shape, *size) for _, *size in shapes]
        return self._decode(container, container.levels, bits), bits

    def _decode(
        self, container: Container, levels: Sequence[Level], bits: Sequence[PlaceBits] | None = None
    ) -> Image:
        header = container.header
        model = self._model_of(header)
        readers = {level.stride: LevelReader(model.models, level.data, container.seed) for level in levels}
        size = (header.height, header.width)
        indexes = read_map(header.lmbda_index, header.lmbda_map, grid(*size, model.network.shape.margin))
        parts = []
        with one_thread(), torch.inference_mode():
            for number, shape in enumerate(plane_shapes(*size, header.channels, halved=header.halved)):
                conditions = conditions_of(model.network, indexes, *shape)
                all_places = container.version == 1
                counts = bits[number] if bits else None
                parts.append(
                    read_planes(model.network, shape, conditions, readers, all_places=all_places, bits=counts)
                )
        if not all(container.agrees(level, readers[level.stride].crc) for level in levels):
            raise OutOfStepError
        return model.layers.picture(parts)

    def _model_of(self, header: Header) -> Model:
        """The model that a file was made with. Raises UnknownModelError."""
        return self._model if self.model.startswith(header.model) else installed_model(header.model)

    def _draft(
        self,
        image: Image,
        index: int | LmbdaMap,
        price: float = PRICE,
        *,
        halved: bool | None = None,
        analysis: Analysis | None = None,
    ) -> Draft:
        height, width = check_image(image).shape[:2]
        model = self._model
        indexes = np.broadcast_to(np.uint8(index), grid(height, width, self.margin))
        if halved is None:
            halved = difference_planes_are_halved(model.network, image, indexes)
        base, others = write_map(indexes)
        header = Header(width, height, 3 if image.ndim == 3 else 1, 8, model.fingerprint, base, halved, others)
        rounding = model.layers.rounding(model.tables, price)
        return Draft(model, header, image, indexes, rounding, analysis)


def _first(container: Container, levels: int | None, size: int) -> tuple[Level, ...]:
    """The first levels of a file, of which there are `size` bytes. Raises ConfigError and CutShortError."""
    if levels is None:
        return container.levels
    if not 1 <= levels <= len(STRIDES):
        raise ConfigError(f"levels {levels} is not from 1 to {len(STRIDES)}")
    if levels > len(container.levels):
        needed = container.ends[levels - 1]
        raise CutShortError(
            f"ends inside level {len(container.levels) + 1}: a preview of {levels} levels needs {needed} bytes, "
            f"and there are {size}"
        )
    return container.levels[:levels]
