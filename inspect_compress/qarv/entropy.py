"""Entropy coding of one level: its symbols, and a check of them."""

from functools import cached_property

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from inspect_compress.qarv.range_coder import RADII, Coder, Rows, Symbols, Tables
from inspect_compress.qarv.tables import TOTAL

_ESCAPED_BITS = 24


class Models:
    """The tables of a weight file: what symbols cost, and the coder of their streams."""

    def __init__(self, tables: Tables, coder: Coder) -> None:
        self._tables = tables
        self.coder = coder

    def bits(self, symbols: Symbols, rows: Rows) -> float:
        """What symbols cost, int32 `(N,)`, each by the row of its table, uint8 `(N,)`."""
        return float(self.bits_of_each(symbols, rows).sum(dtype=np.float64))

    def bits_of_each(self, symbols: Symbols, rows: Rows) -> NDArray[np.float32]:
        """As `bits`, but for each symbol, `(N,)`."""
        starts, bits = self._costs
        radii = RADII[rows]
        outside = np.abs(symbols) > radii
        entries = np.where(outside, 2 * radii + 1, symbols + radii)
        each = bits[starts[rows] + entries]
        each[outside] += _ESCAPED_BITS
        return each

    @cached_property
    def _costs(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Where each table begins among all, and the bits of all their entries."""
        starts = np.cumsum([0, *(len(table) for table in self._tables[:-1])])
        return starts, (np.log2(TOTAL) - np.log2(np.concatenate(self._tables))).astype(np.float32)


class LevelWriter:
    """Collects the symbols of one level; `crc` is the CRC-32C, from `seed`, of all so far as little-endian int32."""

    def __init__(self, models: Models, seed: int = 0) -> None:
        self._encoder = models.coder.encoder()
        self.crc = seed

    def put(self, symbols: Symbols, rows: Rows) -> None:
        """Add a batch: int32 symbols, `(N,)`, at most SYMBOL_LIMIT, and their rows, uint8, `(N,)`."""
        self.crc = _extended(self.crc, symbols)
        self._encoder.put(symbols, rows)

    def finish(self) -> bytes:
        """The level's bytes."""
        return self._encoder.finish()


class LevelReader:
    """The inverse of LevelWriter, for the same rows in the same batches."""

    def __init__(self, models: Models, data: bytes, seed: int = 0) -> None:
        self._models = models
        self._decoder = models.coder.decoder(data)
        self.crc = seed

    def get(self, rows: Rows) -> Symbols:
        """The next batch: int32, `(N,)`. Raises OutOfStepError where the bytes do not fit the tables."""
        symbols = self._decoder.get(rows)
        self.crc = _extended(self.crc, symbols)
        return symbols

    def bits_of_each(self, symbols: Symbols, rows: Rows) -> NDArray[np.float32]:
        """What the symbols of a batch cost, `(N,)`: see Models."""
        return self._models.bits_of_each(symbols, rows)


def _extended(crc: int, symbols: Symbols) -> int:
    """A CRC-32C continued with symbols as little-endian int32."""
    data = symbols.astype("<i4", copy=False).view(np.uint8)
    data.flags.writeable = False  # what the compiled module asks of an array that it is to read in place
    return int(google_crc32c.extend(crc, data if google_crc32c.implementation == "c" else data.tobytes()))
