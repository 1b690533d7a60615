"""Reads `.qarv` files of versions 1 and 2, whole or as far as they go, and believes nothing that does not check."""

import struct
from itertools import accumulate

import google_crc32c
import numpy as np

from inspect_compress.errors import CutShortError, DamagedFileError, UnknownVersionError
from inspect_compress.images import MAX_SIDE
from inspect_compress.qarv.container import (
    CHECK,
    CHECKSUM,
    COLOUR_FLAG,
    DEPTH_SHIFT,
    FIXED,
    HALVED_FLAG,
    MAGIC,
    MAP_FLAG,
    VERSION,
    Container,
    Header,
    Level,
)
from inspect_compress.qarv.strides import STRIDES

_DEPTH_MASK = 0x0F
_LONGEST_NUMBER = 5
_NEWER = "uses features of a newer version of the format"
_FIXED_1 = struct.Struct("<3sBHHB8sB")  # magic, version, width - 1, height - 1, samples, model, λ index
_LEVEL_1 = struct.Struct("<II")  # bytes, CRC-32C of the symbols


def read_container(data: bytes, *, prefix: bool = False) -> Container:
    """Read a whole file, or what there is of it where `prefix`. Nothing is decoded here.

    Raises UnknownVersionError, DamagedFileError, and CutShortError where bytes are missing: of a prefix, those of
    the header.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise DamagedFileError("is not a .qarv file")
    if len(data) <= len(MAGIC):
        raise CutShortError(f"is cut short: {len(data)} bytes")
    version = data[len(MAGIC)]
    if version not in (1, VERSION):
        raise UnknownVersionError(f"is of format version {version}; this program reads versions 1 and {VERSION}")
    container = _read_1(data) if version == 1 else _read_2(data)
    size = container.size
    if len(data) > size:
        raise DamagedFileError(f"is damaged: it has {len(data)} bytes and its header says {size}")
    if len(data) < size and not prefix:
        raise CutShortError(f"is cut short: it has {len(data)} bytes and its header says {size}")
    if len(data) == size and CHECKSUM.pack(google_crc32c.value(data[: -CHECKSUM.size])) != data[-CHECKSUM.size :]:
        raise DamagedFileError("is damaged: its checksum does not match its bytes")
    return container


def _read_2(data: bytes) -> Container:
    numbers = _Numbers(data, FIXED.size)
    _, _, samples, model, lmbda_index = FIXED.unpack_from(numbers.data)
    width, height = numbers.next() + 1, numbers.next() + 1
    lmbda_map = numbers.next_bytes(numbers.next()) if samples & MAP_FLAG else b""
    lengths = [numbers.next() for _ in STRIDES]
    ends = tuple(accumulate((length + CHECK.size for length in lengths), initial=numbers.position))[1:]
    levels = tuple(
        Level(stride, data[end - CHECK.size - length : end - CHECK.size], *CHECK.unpack_from(data, end - CHECK.size))
        for stride, length, end in zip(STRIDES, lengths, ends, strict=True)
        if end <= len(data)
    )
    header = _header(samples, width, height, model, lmbda_index, lmbda_map)
    return Container(VERSION, header, levels, ends)


def _read_1(data: bytes) -> Container:
    """Version 1 has levels of little-endian words; they are given as version 2 would have them."""
    numbers = _Numbers(data, _FIXED_1.size + len(STRIDES) * _LEVEL_1.size)
    _, _, width, height, samples, model, lmbda_index = _FIXED_1.unpack_from(data)
    index = [_LEVEL_1.unpack_from(data, _FIXED_1.size + number * _LEVEL_1.size) for number in range(len(STRIDES))]
    if any(length % 4 for length, _ in index):
        raise DamagedFileError("is damaged: a level is not made of whole words")
    ends = tuple(accumulate((length for length, _ in index), initial=numbers.position))[1:]
    levels = tuple(
        Level(stride, np.frombuffer(data[end - length : end], "<u4").astype(">u4").tobytes(), crc)
        for stride, (length, crc), end in zip(STRIDES, index, ends, strict=True)
        if end <= len(data)
    )
    if samples & MAP_FLAG:
        raise UnknownVersionError(_NEWER)
    header = _header(samples, width + 1, height + 1, model, lmbda_index, b"")
    return Container(1, header, levels, ends)


def _header(samples: int, width: int, height: int, model: bytes, lmbda_index: int, lmbda_map: bytes) -> Header:
    colour, halved = bool(samples & COLOUR_FLAG), bool(samples & HALVED_FLAG)
    known = COLOUR_FLAG | HALVED_FLAG | MAP_FLAG | _DEPTH_MASK << DEPTH_SHIFT
    if samples & ~known or (halved and not colour):
        raise UnknownVersionError(_NEWER)
    bit_depth = (samples >> DEPTH_SHIFT & _DEPTH_MASK) + 1
    if bit_depth != 8 or max(width, height) > MAX_SIDE:
        raise UnknownVersionError(
            f"holds {width}x{height} pixels of {bit_depth} bits; this program reads 8 bits and sides of up to "
            f"{MAX_SIDE}"
        )
    return Header(width, height, 3 if colour else 1, bit_depth, model.hex(), lmbda_index, halved, lmbda_map)


class _Numbers:
    """Reads one number of a header after another. Raises CutShortError where the bytes end."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.position = 0
        self.next_bytes(start)

    def next(self) -> int:
        value = 0
        for shift in range(0, 7 * _LONGEST_NUMBER, 7):
            (byte,) = self.next_bytes(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise DamagedFileError("is damaged: a number in its header does not end")

    def next_bytes(self, count: int) -> bytes:
        if len(self.data) < self.position + count:
            raise CutShortError(f"is cut short: {len(self.data)} bytes do not hold its header")
        self.position += count
        return self.data[self.position - count : self.position]
