"""The `.qarv` file, version 1: header, levels, checksum. What the bytes of a level mean is not known here.

docs/format.md describes it for those who write another reader.
"""

import struct
from dataclasses import dataclass

import google_crc32c

from inspect_compress.errors import DamagedFileError, UnknownVersionError
from inspect_compress.images import MAX_SIDE
from inspect_compress.qarv.strides import STRIDES

MAGIC = b"QRV"
VERSION = 1

_HEADER = struct.Struct("<3sBHHB8sB")  # magic, version, width - 1, height - 1, samples, model, λ index
_LEVEL = struct.Struct("<II")  # bytes, CRC-32C of the symbols
_CHECKSUM = struct.Struct("<I")
FIXED_BYTES = _HEADER.size + _CHECKSUM.size
LEAST_BYTES = FIXED_BYTES + len(STRIDES) * _LEVEL.size

_COLOUR_FLAG = 0x01
_HALVED_FLAG = 0x20
_DEPTH_SHIFT = 1
_DEPTH_MASK = 0x0F


@dataclass(frozen=True)
class Level:
    """The entropy-coded symbols of one stride, and the CRC-32C of the symbols themselves."""

    stride: int
    data: bytes
    symbols_crc: int


@dataclass(frozen=True)
class Container:
    """All that a `.qarv` file says.

    `halved`: the difference planes of a colour picture are of half the size; `levels` are coarse first; `model` is
    16 hex digits.
    """

    width: int
    height: int
    channels: int
    bit_depth: int
    model: str
    lmbda_index: int
    levels: tuple[Level, ...]
    halved: bool = False

    def to_bytes(self) -> bytes:
        """The whole file."""
        samples = (_COLOUR_FLAG if self.channels == 3 else 0) | (self.bit_depth - 1) << _DEPTH_SHIFT
        samples |= _HALVED_FLAG if self.halved else 0
        size = (self.width - 1, self.height - 1)
        header = _HEADER.pack(MAGIC, VERSION, *size, samples, bytes.fromhex(self.model), self.lmbda_index)
        index = b"".join(_LEVEL.pack(len(level.data), level.symbols_crc) for level in self.levels)
        body = header + index + b"".join(level.data for level in self.levels)
        return body + _CHECKSUM.pack(google_crc32c.value(body))

    @staticmethod
    def from_bytes(data: bytes) -> "Container":
        """Read a whole file. Raises UnknownVersionError and DamagedFileError before anything is decoded."""
        if data[: len(MAGIC)] != MAGIC:
            raise DamagedFileError("is not a .qarv file")
        if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
            raise UnknownVersionError(
                f"is of format version {data[len(MAGIC)]}; this program reads version {VERSION}"
            )
        if len(data) < LEAST_BYTES:
            raise DamagedFileError(f"is cut short: {len(data)} bytes, of at least {LEAST_BYTES}")
        header = _HEADER.unpack_from(data)
        index = [_LEVEL.unpack_from(data, _HEADER.size + i * _LEVEL.size) for i in range(len(STRIDES))]
        promised = LEAST_BYTES + sum(length for length, _ in index)
        if promised != len(data):
            raise DamagedFileError(f"is damaged: it has {len(data)} bytes and its header says {promised}")
        body = memoryview(data)[: -_CHECKSUM.size]
        if (google_crc32c.value(bytes(body)),) != _CHECKSUM.unpack_from(data, len(body)):
            raise DamagedFileError("is damaged: its checksum does not match its bytes")
        return _parse(header, index, data)


def _parse(header: tuple, index: list[tuple[int, int]], data: bytes) -> Container:
    _, _, width, height, samples, model, lmbda_index = header
    halved = bool(samples & _HALVED_FLAG)
    if samples & ~(_COLOUR_FLAG | _HALVED_FLAG | _DEPTH_MASK << _DEPTH_SHIFT) or (
        halved and not samples & _COLOUR_FLAG
    ):
        raise UnknownVersionError("uses features of a newer version of the format")
    bit_depth = (samples >> _DEPTH_SHIFT & _DEPTH_MASK) + 1
    if bit_depth != 8 or width >= MAX_SIDE or height >= MAX_SIDE:
        raise UnknownVersionError(
            f"holds {width + 1}x{height + 1} pixels of {bit_depth} bits; this program reads 8 bits and "
            f"sides of up to {MAX_SIDE}"
        )
    levels, start = [], _HEADER.size + len(index) * _LEVEL.size
    for stride, (length, crc) in zip(STRIDES, index, strict=True):
        if length % 4:
            raise DamagedFileError("is damaged: a level is not made of whole words")
        levels.append(Level(stride, data[start : start + length], crc))
        start += length
    channels = 3 if samples & _COLOUR_FLAG else 1
    return Container(width + 1, height + 1, channels, bit_depth, model.hex(), lmbda_index, tuple(levels), halved)
