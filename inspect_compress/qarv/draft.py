"""A picture as coded at one map of λ, before entropy coding: what it will cost, look like, and its file."""

from functools import cached_property

from inspect_compress.images import Image
from inspect_compress.qarv.coding import Analysis, Passes, code_image, render_parts
from inspect_compress.qarv.container import CHECK, CHECKSUM, Header, Level, write_container
from inspect_compress.qarv.entropy import LevelWriter
from inspect_compress.qarv.lmbda_map import LmbdaMap
from inspect_compress.qarv.range_coder import Rows, Symbols
from inspect_compress.qarv.rounding import Rounder
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.weights import Model

_ENDS = len(STRIDES) * (CHECK.size + 3) + CHECKSUM.size
"""Bytes of a file beside its header and its symbols: a length, the stream's end and a check for each level."""


class Draft:
    """An image, `uint8`, `(H, W)` or `(H, W, 3)`, coded with a model."""

    def __init__(
        self,
        model: Model,
        header: Header,
        image: Image,
        indexes: LmbdaMap,
        rounding: Rounder,
        analysis: Analysis | None = None,
    ) -> None:
        self.header = header
        self.indexes = indexes
        self._model = model
        self._kept = {stride: _Kept() for stride in STRIDES}
        self._passes: Passes = code_image(
            model.network, image, indexes, rounding, self._kept, halved=header.halved, analysis=analysis
        )

    @cached_property
    def expected_bytes(self) -> float:
        """The size of the file, to a few bytes: from the probabilities of its symbols."""
        batches = [batch for kept in self._kept.values() for batch in kept.batches]
        bits = sum(self._model.models.bits(symbols, rows) for symbols, rows in batches)
        return len(self.header.to_bytes()) + _ENDS + bits / 8

    @cached_property
    def data(self) -> bytes:
        """The file."""
        levels = []
        for stride, kept in self._kept.items():
            writer = LevelWriter(self._model.models, self.header.seed)
            for symbols, rows in kept.batches:
                writer.put(symbols, rows)
            levels.append(Level(stride, writer.finish(), writer.crc))
        return write_container(self.header, levels)

    @cached_property
    def reconstruction(self) -> Image:
        """The picture that the file decodes to."""
        return self._model.layers.picture(render_parts(self._model.network, self._passes))


class _Kept:
    """Takes symbols as a LevelWriter does, and keeps them."""

    def __init__(self) -> None:
        self.batches: list[tuple[Symbols, Rows]] = []

    def put(self, symbols: Symbols, rows: Rows) -> None:
        self.batches.append((symbols, rows))
