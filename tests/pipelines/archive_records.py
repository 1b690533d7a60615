"""Records for the archive's tests, and keys to seal them with."""

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inspect_compress.codecs import load_codec
from inspect_compress.errors import EncryptionError
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image, sample_bytes
from pipelines.archive import ArchivedFrame

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def picture(number: int) -> Image:
    """A small mono picture, another one for each number."""
    rows, columns = np.mgrid[0:12, 0:16]
    return ((rows * 7 + columns * (3 + number)) % 251).astype(np.uint8)


def encoded(number: int, codec: str = "png", quality: int = 90, **changes: object) -> ArchivedFrame:
    """A record that decodes, captured so many hours after noon."""
    image, coder = picture(number), load_codec(codec)
    data = coder.encode(image, quality=quality)
    decoded = coder.decode(data)
    record = ArchivedFrame(
        frame_id=f"frame-{number:05}",
        captured_at=NOON + timedelta(hours=number),
        codec=codec,
        model=coder.model,
        quality=quality,
        width=16,
        height=12,
        channels=1,
        payload=data,
        pixels_sha256=hashlib.sha256(sample_bytes(image)).hexdigest(),
        psnr=None if np.array_equal(decoded, image) else psnr(image, decoded),
        line="line-1",
        station="press",
        product="disc",
        camera="top",
        meta={"path": f"{number}.png"},
        decoded_sha256=hashlib.sha256(sample_bytes(decoded)).hexdigest(),
        sequence=number,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


class OneKey:
    """Keys of one key, made of its id: whoever knows the id can read."""

    def __init__(self, key_id: str, *others: str) -> None:
        self._id, self._known = key_id, {key_id, *others}

    def seal(self, payload: bytes, identity: bytes) -> tuple[str, bytes]:
        nonce = os.urandom(12)
        return self._id, nonce + self._cipher(self._id).encrypt(nonce, payload, identity)

    def unseal(self, sealed: bytes, key_id: str, identity: bytes) -> bytes:
        if key_id not in self._known:
            raise EncryptionError(f"there is no key {key_id!r}")
        try:
            return self._cipher(key_id).decrypt(sealed[:12], sealed[12:], identity)
        except InvalidTag as error:
            raise EncryptionError(f"key {key_id!r} does not fit") from error

    @staticmethod
    def _cipher(key_id: str) -> AESGCM:
        return AESGCM(hashlib.sha256(key_id.encode()).digest())
