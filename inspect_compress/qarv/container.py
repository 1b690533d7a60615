"""The `.qarv` file: header, levels, checksums. What the bytes of a level mean is not known here.

docs/format.md describes it for those who write another reader. Files are written in version 2; `container_reader`
reads version 1 as well.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

MAGIC = b"QRV"
VERSION = 2

FIXED = struct.Struct("<3sBB4sB")  # magic, version, samples, model, λ index
CHECK = struct.Struct("<H")
CHECKSUM = struct.Struct("<I")

COLOUR_FLAG = 0x01
HALVED_FLAG = 0x20
MAP_FLAG = 0x40
DEPTH_SHIFT = 1


@dataclass(frozen=True)
class Header:
    """What a file says before its levels.

    `model` is the fingerprint, of which version 2 keeps the first 8 hexadecimal digits; `halved`: the difference
    planes of a colour picture are of half the size; `lmbda_map`: as `lmbda_map.write_map` makes it, empty where λ is
    the same everywhere.
    """

    width: int
    height: int
    channels: int
    bit_depth: int
    model: str
    lmbda_index: int
    halved: bool = False
    lmbda_map: bytes = b""

    def to_bytes(self) -> bytes:
        """The beginning of a file, up to the lengths of its levels."""
        samples = (COLOUR_FLAG if self.channels == 3 else 0) | (self.bit_depth - 1) << DEPTH_SHIFT
        samples |= (HALVED_FLAG if self.halved else 0) | (MAP_FLAG if self.lmbda_map else 0)
        fixed = FIXED.pack(MAGIC, VERSION, samples, bytes.fromhex(self.model[:8]), self.lmbda_index)
        described = _number(len(self.lmbda_map)) + self.lmbda_map if self.lmbda_map else b""
        return fixed + _number(self.width - 1) + _number(self.height - 1) + described

    @property
    def seed(self) -> int:
        """What the CRC-32C of each level's symbols goes on from."""
        return int(google_crc32c.value(self.to_bytes()))


@dataclass(frozen=True)
class Level:
    """The entropy-coded symbols of one stride, and the CRC-32C of the symbols, of which version 2 keeps 16 bits."""

    stride: int
    data: bytes
    symbols_crc: int


@dataclass(frozen=True)
class Container:
    """A file. `levels` are coarse first; those of a prefix are fewer than `ends`.

    `ends`: how many bytes of the file hold the header and the first level, the first two, and so on.
    """

    version: int
    header: Header
    levels: tuple[Level, ...]
    ends: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.ends[-1] + CHECKSUM.size

    @property
    def seed(self) -> int:
        """What the CRC-32C of each level's symbols goes on from."""
        return 0 if self.version == 1 else self.header.seed

    def agrees(self, level: Level, crc: int) -> bool:
        """Whether a level's symbols, with this CRC-32C, are those that were written."""
        return level.symbols_crc == (crc if self.version == 1 else crc & 0xFFFF)


def write_container(header: Header, levels: Sequence[Level]) -> bytes:
    """The whole file, in the newest version."""
    lengths = b"".join(_number(len(level.data)) for level in levels)
    parts = b"".join(level.data + CHECK.pack(level.symbols_crc & 0xFFFF) for level in levels)
    body = header.to_bytes() + lengths + parts
    return body + CHECKSUM.pack(google_crc32c.value(body))


def _number(value: int) -> bytes:
    """Unsigned LEB128: 7 bits a byte, the lowest first, the top bit set in all but the last."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])
