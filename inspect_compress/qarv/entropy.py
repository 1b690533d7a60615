"""Entropy coding of one level's symbols with constriction's range coder and the shipped tables.

Symbols come in batches, each with the row of the tables that holds its probabilities. Within a batch they are
coded row by row, so that a batch is a few dozen library calls. A symbol outside its table is escaped.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import constriction
import google_crc32c
import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import OutOfStepError
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.tables import TOTAL, radius

SYMBOL_LIMIT = (1 << 23) - 1
"""The largest absolute value of a symbol: what an escape can express."""

_ESCAPE_BASE = 1 << 12
_PIECE = 1 << 20
"""Symbols coded in one call at most: it bounds the memory, and changes nothing in the stream."""
_ESCAPE_MODEL = constriction.stream.model.Uniform(_ESCAPE_BASE)

Symbols = NDArray[np.int32]
Rows = NDArray[np.uint8]


class Models:
    """The tables as constriction's models, made when first used."""

    def __init__(self, tables: list[NDArray[np.int32]]) -> None:
        self._tables = tables
        self._models: dict[int, Any] = {}

    def __getitem__(self, row: int) -> Any:
        if row not in self._models:
            exact = self._tables[row].astype(np.float64) / TOTAL
            self._models[row] = constriction.stream.model.Categorical(exact, perfect=False, lazy=False)
        return self._models[row]


class LevelWriter:
    """Collects the symbols of one level; `crc` is the CRC-32C of all so far as little-endian int32."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._encoder = constriction.stream.queue.RangeEncoder()
        self.crc = 0

    def put(self, symbols: Symbols, rows: Rows) -> None:
        """Add a batch: int32 symbols, `(N,)`, at most SYMBOL_LIMIT, and their rows, uint8, `(N,)`."""
        self.crc = google_crc32c.extend(self.crc, symbols.astype("<i4").tobytes())
        escaped = np.zeros(len(symbols), bool)
        for row, where in _groups(rows):
            r = radius(row)
            chosen = symbols[where]
            outside = np.abs(chosen) > r
            escaped[where] = outside
            self._encoder.encode(np.where(outside, 2 * r + 1, chosen + r).astype(np.int32), self._models[row])
        if escaped.any():
            high, low = np.divmod(_zigzag(symbols[escaped]), _ESCAPE_BASE)
            self._encoder.encode(np.stack([high, low], axis=1).ravel().astype(np.int32), _ESCAPE_MODEL)

    def finish(self) -> bytes:
        """The level's bytes: little-endian 32-bit words."""
        return self._encoder.get_compressed().astype("<u4").tobytes()


class LevelReader:
    """The inverse of LevelWriter, for the same rows in the same batches."""

    def __init__(self, models: Models, data: bytes) -> None:
        self._models = models
        words = np.frombuffer(data, "<u4").astype(np.uint32)
        self._decoder = constriction.stream.queue.RangeDecoder(words)
        self.crc = 0

    def get(self, rows: Rows) -> Symbols:
        """The next batch: int32, `(N,)`. Raises OutOfStepError where the bytes do not fit the tables."""
        symbols = np.zeros(len(rows), np.int32)
        escaped = np.zeros(len(rows), bool)
        try:
            for row, where in _groups(rows):
                r = radius(row)
                chosen = self._decoder.decode(self._models[row], len(where)) - r
                symbols[where] = chosen
                escaped[where] = chosen == r + 1
            if escaped.any():
                pairs = self._decoder.decode(_ESCAPE_MODEL, 2 * int(escaped.sum())).reshape(-1, 2)
                symbols[escaped] = _unzigzag(pairs[:, 0].astype(np.int64) * _ESCAPE_BASE + pairs[:, 1])
        except AssertionError as error:
            raise OutOfStepError from error
        self.crc = google_crc32c.extend(self.crc, symbols.astype("<i4").tobytes())
        return symbols


def _groups(rows: Rows) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each row that occurs, ascending, with the positions where it does, ascending; many of them in pieces."""
    order = np.argsort(rows, kind="stable")
    ends = np.cumsum(np.bincount(rows, minlength=SCALE_STEPS)).tolist()
    for row, (start, end) in enumerate(pairwise([0, *ends])):
        for piece in range(start, end, _PIECE):
            yield row, order[piece : min(end, piece + _PIECE)]


def _zigzag(values: Symbols) -> NDArray[np.int64]:
    wide = values.astype(np.int64)
    return np.where(wide < 0, -2 * wide - 1, 2 * wide)


def _unzigzag(values: NDArray[np.int64]) -> Symbols:
    return np.where(values % 2 == 1, -(values + 1) // 2, values // 2).astype(np.int32)
