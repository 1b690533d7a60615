"""Entropy coding of batches of symbols with constriction's range coder and a weight file's tables.

A stream is the coder's words, most significant byte first, less the bytes at its end that say nothing: a decoder
goes on with zeros.

Symbols come in batches, each with the row of the tables that holds its probabilities. Within a batch they are
coded row by row, so that a batch is a few dozen library calls. A symbol outside its table is escaped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import OutOfStepError
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.tables import TOTAL, radius

RADII = np.array([radius(row) for row in range(SCALE_STEPS)], np.int32)

SYMBOL_LIMIT = (1 << 23) - 1
"""The largest absolute value of a symbol: what an escape can express."""

_WORD_BYTES = 4
_INTERVAL_BYTES = 8
_ESCAPE_BASE = 1 << 12
_PIECE = 1 << 20
"""Symbols coded in one call at most: it bounds the memory, and changes nothing in the stream."""
_ESCAPE_MODEL = constriction.stream.model.Uniform(_ESCAPE_BASE)

Symbols = NDArray[np.int32]
Rows = NDArray[np.uint8]
Tables = list[NDArray[np.int32]]


class Encoder(Protocol):
    """Makes one stream."""

    def put(self, symbols: Symbols, rows: Rows) -> None:
        """Add a batch: int32, `(N,)`, at most SYMBOL_LIMIT, and their rows, uint8, `(N,)`."""

    def finish(self) -> bytes:
        """The shortest bytes that the symbols can be read from."""


class Decoder(Protocol):
    """Reads one stream."""

    def get(self, rows: Rows) -> Symbols:
        """The next batch: int32, `(N,)`. Raises OutOfStepError where the bytes do not fit the tables."""


class Coder(Protocol):
    """Streams for one set of tables (see `tables.gaussian_tables`)."""

    def encoder(self) -> Encoder: ...

    def decoder(self, stream: bytes) -> Decoder: ...


class ConstrictionCoder:
    """A Coder that runs everywhere; models are made of the tables when first used."""

    def __init__(self, tables: Tables) -> None:
        self._models = _Models(tables)

    def encoder(self) -> Encoder:
        return _Encoder(self._models)

    def decoder(self, stream: bytes) -> Decoder:
        return _Decoder(self._models, stream)


class _Models:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._models: dict[int, Any] = {}

    def __getitem__(self, row: int) -> Any:
        if row not in self._models:
            exact = self._tables[row].astype(np.float64) / TOTAL
            self._models[row] = constriction.stream.model.Categorical(exact, perfect=False, lazy=False)
        return self._models[row]


class _Encoder:
    def __init__(self, models: _Models) -> None:
        self._models = models
        self._encoder = constriction.stream.queue.RangeEncoder()

    def put(self, symbols: Symbols, rows: Rows) -> None:
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
        return stream_of(self._encoder)


class _Decoder:
    def __init__(self, models: _Models, stream: bytes) -> None:
        self._models = models
        self._decoder = decoder_of(stream)

    def get(self, rows: Rows) -> Symbols:
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
        except AssertionError as error:  # constriction's word for bytes that no symbols become
            raise OutOfStepError from error
        return symbols


def stream_of(encoder: Any) -> bytes:
    """The shortest bytes that a RangeEncoder's symbols can be read from."""
    words_before, (lower, width) = encoder.pos()
    data = encoder.get_compressed().astype(">u4").tobytes()
    before, after = data[: words_before * _WORD_BYTES], data[words_before * _WORD_BYTES :]
    carried = int.from_bytes(after.ljust(_INTERVAL_BYTES, b"\0"), "big") < lower
    return shortest_stream(before, lower, width, carried=carried)


def shortest_stream(before: bytes, lower: int, width: int, *, carried: bool = False) -> bytes:
    """The words of a stream, and what says the coder's last interval: `width` numbers of 64 bits from `lower` on.

    Any number that lies there says all symbols; this is the one with most zeros at its end. `carried`: whether
    `before` has been increased already, as for a number beyond 64 bits.
    """
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
        yield _Piece(where, np.repeat(RADII, counts), runs)


def _zigzag(values: Symbols) -> NDArray[np.int64]:
    wide = values.astype(np.int64)
    return np.where(wide < 0, -2 * wide - 1, 2 * wide)


def _unzigzag(values: NDArray[np.int64]) -> Symbols:
    return np.where(values % 2 == 1, -(values + 1) // 2, values // 2).astype(np.int32)
