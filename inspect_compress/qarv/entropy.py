"""Entropy coding of one level's symbols with constriction's range coder and the shipped tables.

A stream is the coder's words, most significant byte first, less the bytes at its end that say nothing: a decoder
goes on with zeros.

Symbols come in batches, each with the row of the tables that holds its probabilities. Within a batch they are
coded row by row, so that a batch is a few dozen library calls. A symbol outside its table is escaped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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

_WORD_BYTES = 4
_INTERVAL_BYTES = 8
_ESCAPE_BASE = 1 << 12
_ESCAPED_BITS = 24
_PIECE = 1 << 20
"""Symbols coded in one call at most: it bounds the memory, and changes nothing in the stream."""
_ESCAPE_MODEL = constriction.stream.model.Uniform(_ESCAPE_BASE)

_RADII = np.array([radius(row) for row in range(SCALE_STEPS)], np.int32)

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

    def bits(self, symbols: Symbols, rows: Rows) -> float:
        """What symbols cost, int32 `(N,)`, each by the row of its table, uint8 `(N,)`."""
        return float(self.bits_of_each(symbols, rows).sum(dtype=np.float64))

    def bits_of_each(self, symbols: Symbols, rows: Rows) -> NDArray[np.float32]:
        """As `bits`, but for each symbol, `(N,)`."""
        starts, bits = self._costs
        radii = _RADII[rows]
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
        self._models = models
        self._encoder = constriction.stream.queue.RangeEncoder()
        self.crc = seed

    def put(self, symbols: Symbols, rows: Rows) -> None:
        """Add a batch: int32 symbols, `(N,)`, at most SYMBOL_LIMIT, and their rows, uint8, `(N,)`."""
        self.crc = google_crc32c.extend(self.crc, symbols.astype("<i4").tobytes())
        escaped = np.zeros(len(symbols), bool)
        for piece in _pieces(rows):
            chosen = symbols[piece.where]
            outside = np.abs(chosen) > piece.radii
            escaped[piece.where] = outside
            entries = np.where(outside, 2 * piece.radii + 1, chosen + piece.radii)
            for row, start, end in piece.runs:
                self._encoder.encode(entries[start:end], self._models[row])
        if escaped.any():
            high, low = np.divmod(_zigzag(symbols[escaped]), _ESCAPE_BASE)
            self._encoder.encode(np.stack([high, low], axis=1).ravel().astype(np.int32), _ESCAPE_MODEL)

    def finish(self) -> bytes:
        """The level's bytes."""
        return stream_of(self._encoder)


class LevelReader:
    """The inverse of LevelWriter, for the same rows in the same batches."""

    def __init__(self, models: Models, data: bytes, seed: int = 0) -> None:
        self._models = models
        self._decoder = decoder_of(data)
        self.crc = seed

    def get(self, rows: Rows) -> Symbols:
        """The next batch: int32, `(N,)`. Raises OutOfStepError where the bytes do not fit the tables."""
        symbols = np.empty(len(rows), np.int32)
        escaped = np.zeros(len(rows), bool)
        try:
            for piece in _pieces(rows):
                read = [self._decoder.decode(self._models[row], end - start) for row, start, end in piece.runs]
                chosen = np.concatenate(read) - piece.radii
                symbols[piece.where] = chosen
                escaped[piece.where] = chosen > piece.radii
            if escaped.any():
                pairs = self._decoder.decode(_ESCAPE_MODEL, 2 * int(escaped.sum())).reshape(-1, 2)
                symbols[escaped] = _unzigzag(pairs[:, 0].astype(np.int64) * _ESCAPE_BASE + pairs[:, 1])
        except AssertionError as error:
            raise OutOfStepError from error
        self.crc = google_crc32c.extend(self.crc, symbols.astype("<i4").tobytes())
        return symbols

    def bits_of_each(self, symbols: Symbols, rows: Rows) -> NDArray[np.float32]:
        """What the symbols of a batch cost, `(N,)`: see Models."""
        return self._models.bits_of_each(symbols, rows)


def stream_of(encoder: Any) -> bytes:
    """The shortest bytes that a RangeEncoder's symbols can be read from.

    Any number that lies in the coder's last interval says them all; this is the one with most zeros at its end.
    """
    words_before, (lower, width) = encoder.pos()
    data = encoder.get_compressed().astype(">u4").tobytes()
    before, after = data[: words_before * _WORD_BYTES], data[words_before * _WORD_BYTES :]
    carried = int.from_bytes(after.ljust(_INTERVAL_BYTES, b"\0"), "big") < lower
    for count in range(_INTERVAL_BYTES + 1):
        unit = 1 << 8 * (_INTERVAL_BYTES - count)
        number = -(-lower // unit) * unit
        if number - lower < width:
            break
    carry, number = divmod(number, 1 << 8 * _INTERVAL_BYTES)
    if carry != carried:
        before = (int.from_bytes(before, "big") + carry - carried).to_bytes(len(before), "big")
    return (before + number.to_bytes(_INTERVAL_BYTES, "big")).rstrip(b"\0")


def decoder_of(stream: bytes) -> Any:
    """A RangeDecoder for what `stream_of` made."""
    words = np.frombuffer(stream + bytes(-len(stream) % _WORD_BYTES), ">u4")
    return constriction.stream.queue.RangeDecoder(words.astype(np.uint32))


@dataclass(frozen=True)
class _Piece:
    """Symbols that are coded one after the other: `where` they are, `radii` of their tables, and, for each row that
    occurs, its number and where in the piece its symbols begin and end."""

    where: NDArray[np.int64]
    radii: NDArray[np.int32]
    runs: list[tuple[int, int, int]]


def _pieces(rows: Rows) -> Iterator[_Piece]:
    """All symbols, by row and then by position."""
    order = np.argsort(rows, kind="stable")
    for start in range(0, len(order), _PIECE):
        where = order[start : start + _PIECE]
        counts = np.bincount(rows[where], minlength=SCALE_STEPS)
        ends = np.cumsum(counts).tolist()
        runs = [(row, begin, end) for row, (begin, end) in enumerate(pairwise([0, *ends])) if begin < end]
        yield _Piece(where, np.repeat(_RADII, counts), runs)


def _zigzag(values: Symbols) -> NDArray[np.int64]:
    wide = values.astype(np.int64)
    return np.where(wide < 0, -2 * wide - 1, 2 * wide)


def _unzigzag(values: NDArray[np.int64]) -> Symbols:
    return np.where(values % 2 == 1, -(values + 1) // 2, values // 2).astype(np.int32)
