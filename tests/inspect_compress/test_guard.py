"""What the guard lets through decodes to what it has to, whatever the codec does; everything else is refused."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.classical import JpegCodec, JxlCodec, PngCodec
from inspect_compress.codecs import Codec, load_codec
from inspect_compress.errors import ConfigError, OutOfStepError, VerificationError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.guard import CLIMBS, LEAST_CLIMB, Floor, encode_guarded, ladder
from inspect_compress.images import Image

RNG = np.random.default_rng(0)
SURFACE = (120 + RNG.normal(0, 6, (40, 56))).astype(np.uint8)
DEEP = SURFACE.astype(np.uint16) * 16


@dataclass(frozen=True)
class Encoded:
    data: bytes
    reconstruction: Image


class WrongBelow(JpegCodec):
    """States a reconstruction, and below a quality decodes to one that is a level off in a single sample."""

    codec_id = "wrong-below"

    def __init__(self, sound_from: int) -> None:
        self._sound_from = sound_from

    def encode_and_reconstruct(self, image: Image, *, quality: int) -> Encoded:
        data = self.encode(image, quality=quality)
        reconstruction = self.decode(data)
        if quality < self._sound_from:
            reconstruction[3, 4] ^= 1
        return Encoded(data, reconstruction)


class RaisesBelow(JpegCodec):
    """Raises in encoding below a quality, and is out of step in decoding below another."""

    codec_id = "raises-below"

    def __init__(self, encodes_from: int, decodes_from: int) -> None:
        self._encodes_from, self._decodes_from = encodes_from, decodes_from

    def encode(self, image: Image, *, quality: int) -> bytes:
        if quality < self._encodes_from:
            raise ValueError("no room\nfor this")
        return bytes([quality]) + super().encode(image, quality=quality)

    def decode(self, data: bytes) -> Image:
        if data[0] < self._decodes_from:
            raise OutOfStepError
        return super().decode(data[1:])


class FlipsASample(PngCodec):
    """Says that it is lossless, and is not."""

    codec_id = "flips"

    def decode(self, data: bytes) -> Image:
        image = super().decode(data).copy()
        image[0, 0] ^= 1
        return image


class Crops(PngCodec):
    """Loses the last row."""

    codec_id = "crops"
    lossless_from = 101

    def decode(self, data: bytes) -> Image:
        return super().decode(data)[:-1]


class Widens(Crops):
    """Returns the right numbers as the wrong type."""

    def decode(self, data: bytes) -> Image:
        return PngCodec().decode(data).astype(np.uint16)


def test_a_sound_encoding_is_kept_as_the_codec_made_it() -> None:
    codec = load_codec("qarv")

    kept = encode_guarded(codec, SURFACE, quality=50, floor=Floor(min_psnr=20, min_ms_ssim=0.5), lossless=PngCodec())

    assert kept.data == codec.encode(SURFACE, quality=50)
    assert (kept.codec, kept.quality, kept.attempts) == (codec, 50, ())
    np.testing.assert_array_equal(kept.reconstruction, codec.decode(kept.data))


def test_one_wrong_sample_is_enough_to_climb() -> None:
    kept = encode_guarded(WrongBelow(80), SURFACE, quality=60, lossless=PngCodec())

    assert (kept.codec.codec_id, kept.quality) == ("wrong-below", 88)
    assert [(attempt.codec_id, attempt.quality) for attempt in kept.attempts] == [
        ("wrong-below", 60),
        ("wrong-below", 74),
    ]
    assert all("other pixels than what its encoder saw (1 of 2240 samples)" in a.reason for a in kept.attempts)


def test_a_codec_that_raises_is_climbed_past_and_its_words_are_kept() -> None:
    kept = encode_guarded(RaisesBelow(70, 80), SURFACE, quality=60, lossless=PngCodec())

    assert (kept.codec.codec_id, kept.quality) == ("raises-below", 88)
    assert [attempt.reason for attempt in kept.attempts] == ["ValueError: no room for this", str(OutOfStepError())]


@pytest.mark.parametrize("lossless", [PngCodec(), JxlCodec()], ids=lambda codec: codec.codec_id)
def test_in_the_end_it_is_lossless(lossless: Codec) -> None:
    kept = encode_guarded(WrongBelow(101), SURFACE, quality=95, lossless=lossless)

    assert (kept.codec, kept.quality) == (lossless, 100)
    np.testing.assert_array_equal(lossless.decode(kept.data), SURFACE)
    np.testing.assert_array_equal(kept.reconstruction, SURFACE)
    assert [attempt.quality for attempt in kept.attempts] == [95, 100]


def test_a_codec_that_refuses_the_image_is_asked_once() -> None:
    kept = encode_guarded(load_codec("qarv"), DEEP, quality=1, lossless=JxlCodec())

    assert kept.codec.codec_id == "jxl"
    np.testing.assert_array_equal(kept.reconstruction, DEEP)
    assert [attempt.quality for attempt in kept.attempts] == [1]
    assert "has 12 bits per sample" in str(kept.attempts[0])


def test_a_floor_that_was_missed_is_named() -> None:
    kept = encode_guarded(JpegCodec(), SURFACE, quality=10, floor=Floor(min_psnr=42), lossless=PngCodec())

    assert kept.quality > 10
    assert psnr(SURFACE, kept.reconstruction) >= 42
    assert kept.attempts[0].reason.endswith("dB, below the floor of 42 dB")
    missed = encode_guarded(JpegCodec(), SURFACE, quality=10, floor=Floor(min_ms_ssim=0.9), lossless=PngCodec())
    assert "MS-SSIM is 0." in missed.attempts[0].reason


@given(
    quality=st.integers(1, 100),
    least=st.floats(20, 60),
    similar=st.floats(0.5, 1),
    seed=st.integers(0, 9),
)
def test_what_is_kept_reaches_the_floor_at_no_lower_quality(
    quality: int, least: float, similar: float, seed: int
) -> None:
    image = np.random.default_rng(seed).normal(128, 5 + seed, (24, 24)).clip(0, 255).astype(np.uint8)

    kept = encode_guarded(
        JpegCodec(), image, quality=quality, floor=Floor(min_psnr=least, min_ms_ssim=similar), lossless=PngCodec()
    )

    decoded = kept.codec.decode(kept.data)
    assert psnr(image, decoded) >= least
    assert ms_ssim(image, decoded) >= similar
    tried = [attempt.quality for attempt in kept.attempts]
    assert tried == list(ladder(quality))[: len(tried)]
    assert kept.quality >= quality
    for attempt in kept.attempts:  # nothing was left out that would have done
        missed = JpegCodec().decode(JpegCodec().encode(image, quality=attempt.quality))
        assert psnr(image, missed) < least or ms_ssim(image, missed) < similar


@given(st.integers(1, 100))
def test_few_steps_lead_to_100(quality: int) -> None:
    steps = list(ladder(quality))

    assert steps[0] == quality
    assert steps[-1] == 100
    assert len(steps) <= 1 + CLIMBS
    assert all(after - before >= LEAST_CLIMB for before, after in pairwise(steps[:-1]))
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("codec", [Crops(), Widens()], ids=["another shape", "another type"])
def test_another_shape_or_type_is_no_equal(codec: Codec) -> None:
    kept = encode_guarded(codec, SURFACE, quality=100, lossless=PngCodec())

    assert kept.codec.codec_id == "png"
    assert "decodes to uint" in kept.attempts[0].reason


def test_a_lossless_codec_is_held_to_the_original() -> None:
    kept = encode_guarded(FlipsASample(), SURFACE, quality=100, lossless=PngCodec())

    assert kept.codec.codec_id == "png"
    assert "(1 of 2240 samples)" in kept.attempts[0].reason


@pytest.mark.parametrize("lossless", [FlipsASample(), JpegCodec()], ids=lambda codec: codec.codec_id)
def test_where_lossless_fails_too_nothing_is_kept(lossless: Codec) -> None:
    with pytest.raises(VerificationError) as caught:
        encode_guarded(WrongBelow(101), SURFACE, quality=100, lossless=lossless)

    assert "wrong-below at quality 100: decodes to other pixels" in str(caught.value)
    assert f"{lossless.codec_id} at quality 100: decodes to other pixels than its original" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_lossless_codec_the_last_word_is_quality_100() -> None:
    with pytest.raises(VerificationError, match=r"at quality 90: .* at quality 100: .*lower floor"):
        encode_guarded(JpegCodec(), SURFACE, quality=90, floor=Floor(min_psnr=80))


def test_an_encoder_of_the_callers_own_is_checked_alike() -> None:
    """As for a rate-controlled encode: the first is made to a size, the next by quality."""
    codec, asked = WrongBelow(0), []

    def encode(quality: int) -> Encoded:
        asked.append(quality)
        made = codec.encode_and_reconstruct(SURFACE, quality=quality)
        return Encoded(made.data, made.reconstruction if quality > 60 else 255 - made.reconstruction)

    kept = encode_guarded(codec, SURFACE, quality=60, encode=encode)

    assert asked == [60, 74]
    assert (kept.quality, len(kept.attempts)) == (74, 1)


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range_is_the_callers_mistake(quality: int) -> None:
    with pytest.raises(ConfigError, match=f"quality {quality}"):
        encode_guarded(JpegCodec(), SURFACE, quality=quality, lossless=PngCodec())
