"""Encoding that is checked before anybody relies on it: decoded from the bytes just made, compared, or not kept.

Where a check fails the next higher quality is tried, and in the end a lossless codec. What is kept is the caller's
business, and so is where it is stored.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from inspect_compress.codecs import Codec, check_quality, is_lossless
from inspect_compress.errors import ImageError, InspectCompressError, VerificationError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image

BEST = 100
"""The highest quality, and that of the lossless attempt."""
CLIMBS = 3
"""Higher qualities tried at most; the last of them is the best."""
LEAST_CLIMB = 10
"""Points of quality from one attempt to the next, but for the last: a smaller step would seldom mend a failure."""


@dataclass(frozen=True)
class Floor:
    """What a decoded image must reach against its original; None asks for nothing."""

    min_psnr: float | None = None
    """dB."""
    min_ms_ssim: float | None = None
    """0 to 1."""


class Encoded(Protocol):
    """A file's bytes, and the image that its encoder says it decodes to; None where it does not say."""

    @property
    def data(self) -> bytes: ...

    @property
    def reconstruction(self) -> Image | None: ...


Encode = Callable[[int], Encoded]
"""Encodes the image in hand at a quality from 1 to 100."""


@dataclass(frozen=True)
class Attempt:
    """An encoding that was not kept, and why."""

    codec_id: str
    quality: int
    reason: str

    def __str__(self) -> str:
        return f"{self.codec_id} at quality {self.quality}: {self.reason}"


@dataclass(frozen=True)
class Guarded:
    """An encoding that passed every check. `reconstruction` is what `data` decodes to, decoded once already.

    `codec` and `quality` are those that it was made with in the end; `attempts` lists what was tried before.
    """

    data: bytes
    codec: Codec
    quality: int
    reconstruction: Image
    attempts: tuple[Attempt, ...] = ()


def encode_guarded(
    codec: Codec,
    image: Image,
    *,
    quality: int,
    floor: Floor | None = None,
    lossless: Codec | None = None,
    encode: Encode | None = None,
) -> Guarded:
    """Encode `image`, `uint8` or `uint16`, at `quality` or, where that fails, the next higher that passes `verify`.

    A codec with `encode_and_reconstruct` is held to its own reconstruction, bit for bit; `encode` stands in for it
    where the caller encodes in a way of its own. A codec that raises has failed as well, and is not asked again
    where it refuses the image (ImageError). Then comes `lossless`, where it is given, at quality 100; it is held to
    the original. Raises ConfigError for a quality out of range, and VerificationError where nothing passed.
    """
    floor = floor or Floor()
    failed: list[Attempt] = []
    for step in ladder(check_quality(quality)):
        try:
            encoded = encode(step) if encode else _encode(codec, image, step)
            decoded = verify(codec, image, encoded, quality=step, floor=floor)
        except Exception as error:  # a codec of another package may raise anything; none of it may store a bad frame
            failed.append(Attempt(codec.codec_id, step, _reason(error)))
            if isinstance(error, ImageError):
                break
            continue
        return Guarded(encoded.data, codec, step, decoded, tuple(failed))
    if lossless is not None:
        try:
            encoded = _encode(lossless, image, BEST)
            decoded = _decoded(lossless, image, encoded.data)
            _require_equal(decoded, image, "its original, although the codec is to be lossless")
        except Exception as error:
            failed.append(Attempt(lossless.codec_id, BEST, _reason(error)))
        else:
            return Guarded(encoded.data, lossless, BEST, decoded, tuple(failed))
    raise VerificationError(
        f"no encoding passed the check, so none is kept: {'; '.join(map(str, failed))}. Choose another codec, or a "
        "lower floor if that was missed"
    )


def verify(codec: Codec, image: Image, encoded: Encoded, *, quality: int, floor: Floor) -> Image:
    """Decode an encoding from its bytes and return the image, once it is what it has to be.

    It has the shape and type of `image`; it is equal to the encoder's reconstruction, where there is one, and to
    `image` where the codec says that it is lossless at `quality`; it reaches `floor`. Raises VerificationError with
    the reason, and what the decoder raises.
    """
    decoded = _decoded(codec, image, encoded.data)
    if encoded.reconstruction is not None:
        _require_equal(decoded, encoded.reconstruction, "what its encoder saw")
    if is_lossless(codec, quality):
        _require_equal(decoded, image, "its original, although the codec is lossless here")
    for name, unit, least, measure in (
        ("PSNR", " dB", floor.min_psnr, psnr),
        ("MS-SSIM", "", floor.min_ms_ssim, ms_ssim),
    ):
        if least is not None and not (reached := measure(image, decoded)) >= least:
            raise VerificationError(f"{name} is {reached:.4g}{unit}, below the floor of {least:g}{unit}")
    return decoded


def ladder(quality: int) -> Iterator[int]:
    """The qualities to try, from the one asked for up to 100: 60, 74, 88, 100."""
    step = max(LEAST_CLIMB, -(-(BEST - quality) // CLIMBS))
    yield quality
    while quality < BEST:
        quality = min(quality + step, BEST)
        yield quality


@dataclass(frozen=True)
class _Bytes:
    """Encoded, of a codec that does not say what its file decodes to."""

    data: bytes
    reconstruction: None = None


@runtime_checkable
class _Reconstructing(Protocol):
    def encode_and_reconstruct(self, image: Image, *, quality: int) -> Encoded: ...


def _encode(codec: Codec, image: Image, quality: int) -> Encoded:
    if isinstance(codec, _Reconstructing):
        return codec.encode_and_reconstruct(image, quality=quality)
    return _Bytes(codec.encode(image, quality=quality))


def _decoded(codec: Codec, image: Image, data: bytes) -> Image:
    decoded = codec.decode(data)
    if decoded.shape != image.shape or decoded.dtype != image.dtype:
        raise VerificationError(
            f"decodes to {decoded.dtype} of shape {decoded.shape}, its original is {image.dtype} of {image.shape}"
        )
    return decoded


def _require_equal(decoded: Image, expected: Image, what: str) -> None:
    if not np.array_equal(decoded, expected):
        wrong = np.count_nonzero(decoded != expected) if decoded.shape == expected.shape else decoded.size
        raise VerificationError(f"decodes to other pixels than {what} ({wrong} of {decoded.size} samples)")


def _reason(error: Exception) -> str:
    """One line; with the error's type, where it is none that is meant for people."""
    words = " ".join(str(error).split())
    return words if isinstance(error, InspectCompressError) else f"{type(error).__name__}: {words}"
