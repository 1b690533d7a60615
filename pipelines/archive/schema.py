"""The archive's rows: columns, identity, and a frame as it is stored. Nothing is read or written here."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import google_crc32c
import pyarrow as pa

from inspect_compress.errors import ArchiveError

SCHEMA = pa.schema(
    [
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("captured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("line", pa.string()),
        pa.field("station", pa.string()),
        pa.field("product", pa.string()),
        pa.field("camera", pa.string()),
        pa.field("meta", pa.string(), nullable=False),
        pa.field("codec", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("quality", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("channels", pa.int32(), nullable=False),
        pa.field("bit_depth", pa.int32(), nullable=False),
        pa.field("pixels_sha256", pa.string(), nullable=False),
        pa.field("psnr", pa.float64()),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("payload_crc32c", pa.int64(), nullable=False),
        pa.field("stored_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("rule", pa.string()),
        pa.field("fallback", pa.string()),
        pa.field("asked_codec", pa.string()),
        pa.field("asked_model", pa.string()),
        pa.field("asked_quality", pa.int32()),
        pa.field("decoded_sha256", pa.string()),
        pa.field("sequence", pa.int64()),
        pa.field("key_id", pa.string()),
    ]
)
ADDED = frozenset(
    {"rule", "fallback", "asked_codec", "asked_model", "asked_quality", "decoded_sha256", "sequence", "key_id"}
)
"""Columns that older tables lack: null when read, and added by the next commit."""
PARTITIONS = ["date", "line"]
IDENTITY = ["frame_id", "codec", "model", "quality"]
ASKED = ["asked_codec", "asked_model", "asked_quality"]
_NULL_IF_EMPTY = ("line", "rule", "fallback", "decoded_sha256", "sequence", "key_id")


Row = Mapping[str, Any]
"""Some or all columns of a row, by their names."""


class FrameKey(NamedTuple):
    """What a row is known by: it is stored once, however often it is offered."""

    frame_id: str
    codec: str
    model: str
    quality: int


@dataclass(frozen=True)
class ArchivedFrame:
    """One encoded frame as it is stored. `payload` is a whole file of the codec's format.

    `pixels_sha256` is the hash of the image's `sample_bytes` before compression, and `decoded_sha256` that of the
    image that the payload decodes to; it is empty in older rows. `psnr` is in dB, measured on the decoded payload
    before it was stored; None where the decoded image is equal to the original.

    `rule` names the rule that chose the quality. Where the guard fell back, `fallback` says why, and `asked_codec`,
    `asked_model` and `asked_quality` what was asked for instead of `codec`, `model` and `quality`.

    `sequence` is the number that the source gave the frame, 0 for none. `key_id` names the key that the stored
    payload is sealed with, and is empty where it is not; `payload` is never sealed.
    """

    frame_id: str
    captured_at: datetime
    codec: str
    model: str
    quality: int
    width: int
    height: int
    channels: int
    payload: bytes
    pixels_sha256: str
    psnr: float | None = None
    bit_depth: int = 8
    line: str = ""
    station: str = ""
    product: str = ""
    camera: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    rule: str = ""
    fallback: str = ""
    asked_codec: str = ""
    asked_model: str = ""
    asked_quality: int = 0
    decoded_sha256: str = ""
    sequence: int = 0
    key_id: str = ""

    @property
    def key(self) -> FrameKey:
        """What the row is known by."""
        return FrameKey(self.frame_id, self.codec, self.model, self.quality)

    @property
    def asked(self) -> FrameKey:
        """What was asked for: the key, unless the guard fell back."""
        if not self.asked_codec:
            return self.key
        return FrameKey(self.frame_id, self.asked_codec, self.asked_model, self.asked_quality)


def row_of(record: ArchivedFrame, stored_at: datetime) -> dict[str, Any]:
    """The row of a record whose payload is as it is to be stored.

    An empty line is null, as Delta cannot hold an empty partition value.
    """
    captured_at = record.captured_at.astimezone(UTC)
    return {
        **{name: getattr(record, name, None) for name in SCHEMA.names},
        **{name: getattr(record, name) or None for name in _NULL_IF_EMPTY},
        "captured_at": captured_at,
        "date": captured_at.date(),
        "meta": json.dumps(record.meta, ensure_ascii=False, sort_keys=True),
        "psnr": record.psnr if record.psnr is not None and math.isfinite(record.psnr) else None,
        **{name: getattr(record, name) if record.asked_codec else None for name in ASKED},
        "bytes": len(record.payload),
        "payload_crc32c": google_crc32c.value(record.payload),
        "stored_at": stored_at,
    }


def frame_of(row: Mapping[str, Any]) -> ArchivedFrame:
    """The record of a row, with its payload as it is in the row. Raises ArchiveError where its meta is not one."""
    fields = ArchivedFrame.__dataclass_fields__
    values = {name: row[name] for name in fields}
    for name in ("line", "station", "product", "camera", *_NULL_IF_EMPTY, *ASKED):
        if values[name] is None:
            values[name] = fields[name].default
    values["captured_at"] = row["captured_at"].astimezone(UTC)
    values["meta"] = meta_of(row)
    return ArchivedFrame(**values)


def meta_of(row: Mapping[str, Any]) -> dict[str, str]:
    """What the source noted with a frame. Raises ArchiveError, naming the frame, where that is unreadable."""
    try:
        meta = json.loads(row["meta"])
    except (ValueError, RecursionError):
        meta = None
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise ArchiveError(f"frame {row['frame_id']}: its meta is not a JSON object of texts; restore it from a copy")
    return meta


def key_of(row: Mapping[str, Any]) -> FrameKey:
    """What a row is known by."""
    return FrameKey(*(row[name] for name in IDENTITY))


def bytes_are_as_stored(row: Mapping[str, Any]) -> bool:
    """Whether a row's payload has the length and the checksum that were stored with it."""
    payload = row["payload"]
    return len(payload) == row["bytes"] and google_crc32c.value(payload) == row["payload_crc32c"]
