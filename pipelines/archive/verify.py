"""Whether a row of the archive is sound: its bytes, its model, and the picture that it decodes to.

One row at a time and nothing else, so that any engine can spread the rows over processes and machines.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from inspect_compress.codecs import Codec, load_codec
from inspect_compress.errors import ArchiveError, InspectCompressError
from inspect_compress.images import Image, bit_depth, sample_bytes
from pipelines.archive.keys import Keys, plain_payload
from pipelines.archive.schema import bytes_are_as_stored, meta_of


def check_row(row: Mapping[str, Any], keys: Keys | None = None) -> str:
    """Check a row with all columns of `SCHEMA`; return an empty text where it is sound, else the reason in one line.

    A sound row's meta can be read; its payload has the length and the checksum that were stored with it, is decoded
    by an installed codec and model, and becomes a picture of the row's size, depth and hash. A row of an older
    archive whose picture is not its original has no hash of it, and is taken as it decodes.
    """
    try:
        sound_picture(row, keys)
    except InspectCompressError as error:
        return " ".join(str(error).split())
    except Exception as error:  # a codec of another package may raise anything; one bad row must not end the check
        return f"its decoder failed: {type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def sound_picture(row: Mapping[str, Any], keys: Keys | None = None) -> Image:
    """The picture that a row decodes to. Raises ArchiveError, and what the decoder raises, where it is not sound."""
    if not bytes_are_as_stored(row):
        raise ArchiveError("its bytes were changed since they were stored")
    meta_of(row)
    pixels = _codec(row["codec"]).decode(plain_payload(row, keys))
    _require_described(row, pixels)
    _require_hash(row, pixels)
    return pixels


@cache
def _codec(name: str) -> Codec:
    return load_codec(name)


def _require_described(row: Mapping[str, Any], pixels: Image) -> None:
    shape = (row["height"], row["width"]) + ((row["channels"],) if row["channels"] > 1 else ())
    if pixels.shape != shape:
        raise ArchiveError(f"it decodes to a picture of {pixels.shape}; the row says {shape}")
    if (bit_depth(pixels) > 8) != (row["bit_depth"] > 8):
        raise ArchiveError(f"it decodes to {pixels.dtype} samples; the row says {row['bit_depth']} bits")


def _require_hash(row: Mapping[str, Any], pixels: Image) -> None:
    recorded = row["decoded_sha256"] or (row["pixels_sha256"] if row["psnr"] is None else None)
    if recorded and hashlib.sha256(sample_bytes(pixels)).hexdigest() != recorded:
        raise ArchiveError("it decodes to other pixels than when it was stored")
