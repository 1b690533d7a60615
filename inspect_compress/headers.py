"""The size that a compressed picture's header declares, read before a decoder makes room for it.

A few bytes can declare terapixels, and the libraries allocate what is declared. QARV's own reader does its checks
itself.
"""

import struct
from collections.abc import Callable, Iterator

from inspect_compress.errors import DamagedFileError
from inspect_compress.images import MAX_SIDE

Sizes = Iterator[tuple[int, int]]

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers SOF0 to SOF15. ITU-T T.81, table B.1."""
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers that no length follows."""
_JPEG_ENDS = frozenset({0xD9, 0xDA})
_J2K_COMPONENTS = (1, 3)
_JXL_CODESTREAM = b"\xff\x0a"
_JXL_SIGNATURE_BOX = b"\0\0\0\x0cJXL "
_JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by libjxl's numbers 1 to 7. ISO/IEC 18181-1, SizeHeader."""
_JXL_SIDE_BITS = (9, 13, 18, 30)


def check_header(name: str, data: bytes) -> None:
    """Raise DamagedFileError where `data` does not begin as a file of the format, or declares an unfit size.

    `name` is that of the format in errors, and a key of `FORMATS`.
    """
    try:
        sizes = list(FORMATS[name](data))
    except (struct.error, IndexError, ValueError):
        sizes = []
    if not sizes:
        raise DamagedFileError(f"not a sound {name} file: it has no header that can be read")
    for width, height in sizes:
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise DamagedFileError(
                f"not a frame: this {name} file declares {width}x{height} pixels; sides must be 1 to {MAX_SIDE}"
            )


def _jpeg(data: bytes) -> Sizes:
    """Of each frame header before the first scan."""
    place = 2 if data.startswith(b"\xff\xd8") else len(data)
    while place < len(data):
        if data[place] != 0xFF:
            return
        marker = data[place + 1]
        if marker in _JPEG_ENDS:
            return
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            yield width, height
        if marker == 0xFF:
            place += 1
        elif marker in _JPEG_ALONE:
            place += 2
        else:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]


def _jpeg2000(data: bytes) -> Sizes:
    """Of a bare codestream of one or three components."""
    if data.startswith(b"\xff\x4f\xff\x51"):
        right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
        if struct.unpack_from(">H", data, 40)[0] in _J2K_COMPONENTS:
            yield right - left, bottom - top


def _png(data: bytes) -> Sizes:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        yield struct.unpack_from(">II", data, 16)


def _webp(data: bytes) -> Sizes:
    """Of the canvas, or of the one picture; the library checks that they agree."""
    kind = data[12:16] if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else b""
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        yield width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L" and data[20:21] == b"\x2f":
        bits = struct.unpack_from("<I", data, 21)[0]
        yield (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        sides = data[24:30]
        yield int.from_bytes(sides[:3], "little") + 1, int.from_bytes(sides[3:6], "little") + 1


def _avif(data: bytes) -> Sizes:
    """Of every property `ispe` in the boxes that describe the pictures."""
    for kind, start, end in _boxes(data):
        place = data.find(b"ispe", start, end) if kind == b"meta" else -1
        while place >= 0:
            yield struct.unpack_from(">II", data, place + 8)
            place = data.find(b"ispe", place + 4, end)


def _jpeg_xl(data: bytes) -> Sizes:
    """Of the codestream, bare or in its boxes."""
    stream = data if data.startswith(_JXL_CODESTREAM) else _jxl_codestream(data)
    if stream.startswith(_JXL_CODESTREAM):
        yield _jxl_size(int.from_bytes(stream[2:16], "little"))


def _jxl_codestream(data: bytes) -> bytes:
    """The first bytes of the codestream in a file of boxes; none where it has no box of one."""
    for kind, start, _ in _boxes(data) if data.startswith(_JXL_SIGNATURE_BOX) else ():
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0  # the part's number
            return data[start : start + 16]
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each outer box, and where its content begins and ends. ISO/IEC 14496-12, 4.2."""
    place = 0
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        start = 8
        if length == 1:
            length, start = struct.unpack_from(">Q", data, place + 8)[0], 16
        end = place + length if length else len(data)
        if end < place + start:
            return
        yield kind, place + start, end
        place = end


def _jxl_size(bits: int) -> tuple[int, int]:
    """Width and height from a SizeHeader, whose fields come lowest bit first."""

    def take(count: int) -> int:
        nonlocal bits
        value = bits & (1 << count) - 1
        bits >>= count
        return value

    def side(small: int) -> int:
        return 8 * (take(5) + 1) if small else take(_JXL_SIDE_BITS[take(2)]) + 1

    small = take(1)
    height = side(small)
    ratio = take(3)
    if not ratio:
        return side(small), height
    across, down = _JXL_RATIOS[ratio - 1]
    return height * across // down, height


FORMATS: dict[str, Callable[[bytes], Sizes]] = {
    "AVIF": _avif,
    "JPEG": _jpeg,
    "JPEG 2000": _jpeg2000,
    "JPEG XL": _jpeg_xl,
    "PNG": _png,
    "WebP": _webp,
}
