"""The file of one spooled frame: its samples as they are, what is known of it, and a checksum over everything.

    8 bytes   magic and version, "ICSPOOL1"
    4 bytes   length of the head      (this and the other numbers: little-endian, unsigned)
    4 bytes   length of the key id
    8 bytes   length of the body
    head      JSON in UTF-8: the frame without its pixels, and their shape and type
    key id    UTF-8; empty where the body is not encrypted
    body      the samples, row by row, those of more than 8 bits as 16, little-endian; or the same, encrypted
    4 bytes   CRC-32C of all that is before

Where such files lie, and when they may go, is known in `spool`.
"""

import json
import struct
from datetime import datetime
from typing import Any

import google_crc32c
import numpy as np

from inspect_compress.errors import EncryptionError, SpoolError
from inspect_compress.images import sample_bytes
from pipelines.archive.keys import Keys
from pipelines.frame import Frame

MAGIC = b"ICSPOOL1"
_LENGTHS = struct.Struct("<8sIIQ")
_CHECKSUM = struct.Struct("<I")
MOST_HEAD_BYTES = 2**20
_TYPES = {"uint8": "u1", "uint16": "<u2"}


def pack(frame: Frame, keys: Keys | None = None) -> bytes:
    """The bytes of a frame's file; with `keys`, its samples are encrypted."""
    head = json.dumps(
        {
            "frame_id": frame.frame_id,
            "captured_at": frame.captured_at.isoformat(),
            "sequence": frame.sequence,
            "line": frame.line,
            "station": frame.station,
            "product": frame.product,
            "camera": frame.camera,
            "meta": frame.meta,
            "shape": frame.pixels.shape,
            "samples": str(frame.pixels.dtype),
        }
    ).encode()
    samples = sample_bytes(frame.pixels)
    key_id, body = keys.seal(samples, _identity(frame.frame_id, head)) if keys else ("", samples)
    name = key_id.encode()
    data = _LENGTHS.pack(MAGIC, len(head), len(name), len(body)) + head + name + body
    return data + _CHECKSUM.pack(google_crc32c.value(data))


def unpack(data: bytes, keys: Keys | None = None) -> Frame:
    """The frame of a file's bytes. Raises SpoolError where they are not what was written.

    Raises EncryptionError where its key is missing.
    """
    head, name, body = _parts(data)
    if name and keys is None:
        raise EncryptionError(f"is encrypted with the key {name!r}; name the keys in [encryption]")
    try:
        described = json.loads(head)
        samples = keys.unseal(body, name, _identity(described["frame_id"], head)) if name and keys else body
        return _frame(described, samples)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SpoolError(f"does not describe a frame: {error}") from error


def _identity(frame_id: str, head: bytes) -> bytes:
    """What is bound to the samples when they are encrypted."""
    return f"{frame_id}\nspool\n".encode(errors="backslashreplace") + head


def _parts(data: bytes) -> tuple[bytes, str, bytes]:
    """Head, key id and body, once the lengths and the checksum are right."""
    if len(data) < _LENGTHS.size + _CHECKSUM.size:
        raise SpoolError(f"is cut short: {len(data)} bytes")
    magic, head, name, body = _LENGTHS.unpack_from(data)
    if magic != MAGIC:
        raise SpoolError("is no spooled frame, or one of another version")
    if head > MOST_HEAD_BYTES or len(data) != _LENGTHS.size + head + name + body + _CHECKSUM.size:
        raise SpoolError(f"has {len(data)} bytes, not as many as it says")
    (checksum,) = _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)
    if google_crc32c.value(data[: -_CHECKSUM.size]) != checksum:
        raise SpoolError("was changed or cut since it was written: its checksum does not match")
    start = _LENGTHS.size
    try:
        key_id = data[start + head : start + head + name].decode()
    except UnicodeDecodeError as error:
        raise SpoolError("names no key") from error
    return data[start : start + head], key_id, data[start + head + name : start + head + name + body]


def _frame(head: dict[str, Any], samples: bytes) -> Frame:
    pixels = np.frombuffer(samples, dtype=_TYPES[head["samples"]]).reshape(head["shape"])
    return Frame(
        pixels=pixels.astype(head["samples"], copy=False),
        frame_id=head["frame_id"],
        captured_at=datetime.fromisoformat(head["captured_at"]),
        sequence=head["sequence"],
        line=head["line"],
        station=head["station"],
        product=head["product"],
        camera=head["camera"],
        meta=head["meta"],
    )
