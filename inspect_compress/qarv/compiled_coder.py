"""Entropy coding by coder.cpp: the streams of range_coder.py."""

import ctypes

import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import OutOfStepError
from inspect_compress.qarv.kernels import Kernels, RangeDecoder, RangeEncoder, RangeTables
from inspect_compress.qarv.range_coder import (
    RADII,
    SYMBOL_LIMIT,
    Decoder,
    Encoder,
    Rows,
    Symbols,
    Tables,
    shortest_stream,
)
from inspect_compress.qarv.tables import PRECISION, TOTAL
from inspect_compress.qarv.threads import threads_here

_GUESS_BITS = 10
_WORD_BYTES, _INTERVAL_BYTES = 4, 8
_WHOLE = (1 << 8 * _INTERVAL_BYTES) - 1
_SYMBOL_BYTES = 7
"""More than a symbol can take: 24 bits, and 24 where it is escaped."""


class CompiledCoder:
    """A range_coder.Coder."""

    def __init__(self, tables: Tables, kernels: Kernels) -> None:
        starts = [_starts(table) for table in tables]
        parts = np.arange(1 << _GUESS_BITS) << (PRECISION - _GUESS_BITS)
        guesses = [np.searchsorted(each, parts, "right") - 1 for each in starts]
        self._kept: tuple[NDArray, ...] = (
            np.concatenate(starts),
            np.cumsum([0, *(len(each) for each in starts[:-1])]),
            np.stack(guesses).astype(np.uint16),
            RADII,
        )
        self._tables = RangeTables(*(each.ctypes.data for each in self._kept))
        self._kernels = kernels

    def encoder(self) -> Encoder:
        return _Encoder(self)

    def decoder(self, stream: bytes) -> Decoder:
        return _Decoder(self, stream)

    def encode(self, state: RangeEncoder, symbols: Symbols, rows: Rows) -> None:
        """Add a batch to the bytes of an encoder, which have room for it."""
        _check_rows(rows)
        if symbols.max(initial=0) > SYMBOL_LIMIT or symbols.min(initial=0) < -SYMBOL_LIMIT:
            raise ValueError("a symbol that no escape can express")
        symbols, rows = np.ascontiguousarray(symbols, np.int32), np.ascontiguousarray(rows)
        passed = (ctypes.addressof(state), ctypes.addressof(self._tables))
        self._kernels.encode(*passed, symbols.ctypes.data, rows.ctypes.data, len(symbols), threads_here())

    def decode(self, state: RangeDecoder, rows: Rows) -> Symbols:
        """The next batch. Raises OutOfStepError."""
        _check_rows(rows)
        rows, symbols = np.ascontiguousarray(rows), np.empty(len(rows), np.int32)
        passed = (ctypes.addressof(state), ctypes.addressof(self._tables))
        if not self._kernels.decode(*passed, rows.ctypes.data, len(rows), symbols.ctypes.data, threads_here()):
            raise OutOfStepError
        return symbols


class _Encoder:
    def __init__(self, coder: CompiledCoder) -> None:
        self._coder = coder
        self._bytes = np.empty(0, np.uint8)
        self._state = RangeEncoder(lower=0, range=_WHOLE)

    def put(self, symbols: Symbols, rows: Rows) -> None:
        if len(symbols) != len(rows):
            raise ValueError("each symbol has one row")
        before = self._bytes[: self._state.size]
        self._bytes = np.empty(len(before) + _SYMBOL_BYTES * len(symbols) + _INTERVAL_BYTES, np.uint8)
        self._bytes[: len(before)] = before
        self._state.bytes = self._bytes.ctypes.data
        self._coder.encode(self._state, symbols, rows)

    def finish(self) -> bytes:
        return shortest_stream(self._bytes[: self._state.size].tobytes(), self._state.lower, self._state.range)


class _Decoder:
    def __init__(self, coder: CompiledCoder, stream: bytes) -> None:
        self._coder = coder
        self._bytes = np.frombuffer(stream, np.uint8)
        self._state = RangeDecoder(
            offset=int.from_bytes(stream[:_INTERVAL_BYTES].ljust(_INTERVAL_BYTES, b"\0"), "big"),
            range=_WHOLE,
            bytes=self._bytes.ctypes.data,
            size=len(stream),
            position=_INTERVAL_BYTES,
        )

    def get(self, rows: Rows) -> Symbols:
        return self._coder.decode(self._state, rows)


def _starts(table: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Where the entries of a table begin, and 2^24: constriction gives every entry at least 1 once more."""
    sums = np.cumsum([0, *table.tolist()], dtype=np.int64)
    return (sums * (TOTAL - len(table)) // TOTAL + np.arange(len(sums))).astype(np.uint32)


def _check_rows(rows: Rows) -> None:
    if rows.max(initial=0) >= len(RADII):
        raise ValueError("a row that no table has")
