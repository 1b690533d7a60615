"""The classical codecs keep the codec contract, and their rates are where published ones are."""

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image as PillowImage

from inspect_compress.classical import (
    AvifCodec,
    Jpeg2000Codec,
    JpegCodec,
    JxlCodec,
    PngCodec,
    WebpCodec,
    jxl_distance,
)
from inspect_compress.codecs import Codec, check_quality, is_lossless
from inspect_compress.errors import ConfigError, DamagedFileError, ImageError
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image, read_image

LOSSY = [JpegCodec(), Jpeg2000Codec(), WebpCodec(), AvifCodec(), JxlCodec()]
CODECS = [*LOSSY, PngCodec()]
SHAPES = [
    (1, 1),
    (1, 7),
    (7, 1),
    (2, 2),
    (17, 5),
    (33, 65),
    (1, 1, 3),
    (1, 7, 3),
    (17, 5, 3),
    (1, 8192),
    (8192, 1),
]
DATA = Path(os.environ.get("INSPECT_COMPRESS_DATA", Path(__file__).parents[2] / "../shared/data"))

every_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.codec_id)
lossy_codec = pytest.mark.parametrize("codec", LOSSY, ids=lambda codec: codec.codec_id)


def scene(height: int = 96, width: int = 128, channels: int = 1) -> Image:
    """A shaded surface with a scratch and sensor noise: something a codec can compress."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width]
    planes = []
    for channel in range(channels):
        plane = 110 + 40 * np.sin(x / 30 + channel) + y / 4 + rng.normal(0, 2, (height, width))
        plane[abs(x - 2 * y) < 2] -= 50
        planes.append(np.clip(plane, 0, 255).astype(np.uint8))
    return planes[0] if channels == 1 else np.dstack(planes)


@every_codec
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_any_size_comes_back_in_shape(codec: Codec, shape: tuple[int, ...], quality: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = codec.decode(codec.encode(image, quality=quality))
    assert decoded.shape == shape
    assert decoded.dtype == np.uint8


@pytest.mark.slow
@every_codec
def test_the_largest_size_comes_back_in_shape(codec: Codec) -> None:
    image = np.full((8192, 8192), 90, np.uint8)
    image[::64] = 160
    assert codec.decode(codec.encode(image, quality=30)).shape == image.shape


@every_codec
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_grey_stored_as_rgb_stays_rgb(codec: Codec, quality: int) -> None:
    image = np.repeat(scene()[:, :, None], 3, axis=2)
    assert codec.decode(codec.encode(image, quality=quality)).shape == image.shape


@every_codec
def test_a_view_is_coded_as_its_copy(codec: Codec) -> None:
    image = scene(channels=3)[::2, ::-1]
    assert codec.encode(image, quality=60) == codec.encode(image.copy(), quality=60)


@lossy_codec
@pytest.mark.parametrize("channels", [1, 3])
def test_a_higher_quality_takes_more_bytes_and_looks_better(codec: Codec, channels: int) -> None:
    image = scene(channels=channels)
    files = [codec.encode(image, quality=quality) for quality in (10, 40, 70, 95)]
    sizes = [len(data) for data in files]
    figures = [psnr(image, codec.decode(data)) for data in files]
    assert sizes == sorted(sizes)
    assert figures == sorted(figures)
    assert figures[-1] > figures[0] + 3


@pytest.mark.parametrize("codec", [PngCodec(), AvifCodec(), JxlCodec()], ids=lambda codec: codec.codec_id)
@pytest.mark.parametrize("channels", [1, 3])
def test_quality_100_is_lossless_where_the_format_says_so(codec: Codec, channels: int) -> None:
    image = scene(channels=channels)
    np.testing.assert_array_equal(codec.decode(codec.encode(image, quality=100)), image)


def test_png_is_lossless_at_every_quality() -> None:
    image = scene()
    np.testing.assert_array_equal(PngCodec().decode(PngCodec().encode(image, quality=1)), image)


def test_jpeg_halves_colour_below_quality_90_only() -> None:
    image = scene(channels=3)
    layers = {q: PillowImage.open(io.BytesIO(JpegCodec().encode(image, quality=q))).layer for q in (89, 90)}
    assert layers[89][0][1:3] == (2, 2)  # luma sampled twice as often as colour, both ways
    assert layers[90][0][1:3] == (1, 1)


@every_codec
def test_other_readers_open_the_file(codec: Codec) -> None:
    image = scene()
    data = codec.encode(image, quality=80)
    if codec.codec_id == "jxl":
        pytest.skip("neither Pillow nor OpenCV reads JPEG XL")
    with PillowImage.open(io.BytesIO(data)) as file:
        assert psnr(np.array(file.convert("L")), codec.decode(data)) > 50
    if codec.codec_id != "jpeg2000":  # not in every build of OpenCV
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).shape == image.shape


@every_codec
@pytest.mark.parametrize("left", ["nothing", "ten bytes", "half", "all but twenty bytes"])
def test_a_cut_file_is_damaged(codec: Codec, left: str) -> None:
    data = codec.encode(scene(), quality=60)
    length = {"nothing": 0, "ten bytes": 10, "half": len(data) // 2, "all but twenty bytes": len(data) - 20}
    with pytest.raises(DamagedFileError, match=r"^not a sound ") as caught:
        codec.decode(data[: length[left]])
    assert "\n" not in str(caught.value)


@every_codec
def test_other_bytes_are_damaged(codec: Codec) -> None:
    with pytest.raises(DamagedFileError):
        codec.decode(b"frame,score\n1,0.5\n" * 40)


def test_a_png_of_16_bit_colour_is_no_frame() -> None:
    data = cv2.imencode(".png", np.zeros((4, 5, 3), np.uint16))[1].tobytes()
    with pytest.raises(DamagedFileError, match="uint16"):
        PngCodec().decode(data)


def deep_scene(depth: int, height: int = 96, width: int = 128) -> Image:
    """A shaded surface as a camera of 10, 12 or 16 bits sees it, `uint16`, with its full range used."""
    noise = np.random.default_rng(depth).normal(0, 2, (height, width))
    surface = np.linspace(0, 255, width) + noise
    return (surface.clip(0, 255) / 255 * (2**depth - 1)).astype(np.uint16)


lossless_codec = pytest.mark.parametrize("codec", [PngCodec(), JxlCodec()], ids=lambda codec: codec.codec_id)


@lossless_codec
@pytest.mark.parametrize("depth", [10, 12, 16])
def test_deep_mono_is_kept_bit_for_bit(codec: Codec, depth: int) -> None:
    image = deep_scene(depth)
    data = codec.encode(image, quality=100)
    decoded = codec.decode(data)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, image)
    if codec.codec_id == "png":
        with PillowImage.open(io.BytesIO(data)) as file:
            np.testing.assert_array_equal(np.array(file), image)


@lossless_codec
@given(
    image=arrays(
        np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 65535), fill=st.just(9)
    )
)
def test_any_deep_image_is_kept_bit_for_bit(codec: Codec, image: Image) -> None:
    np.testing.assert_array_equal(codec.decode(codec.encode(image, quality=100)), image)


@lossy_codec
def test_a_deep_image_is_refused_with_its_depth_where_it_would_lose(codec: Codec) -> None:
    for quality in (1, 99) if codec.codec_id == "jxl" else (1, 99, 100):
        with pytest.raises(ImageError, match=r"has 12 bits .* png, or jxl at quality 100"):
            codec.encode(deep_scene(12), quality=quality)


def test_codecs_say_from_where_they_are_lossless() -> None:
    first = {codec.codec_id: next((q for q in range(1, 101) if is_lossless(codec, q)), None) for codec in CODECS}
    assert first == {"jpeg": None, "jpeg2000": None, "webp": None, "avif": 100, "jxl": 100, "png": 1}


@every_codec
@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.uint16), np.zeros((4, 4, 4), np.uint8)], ids=["16-bit colour", "RGBA"]
)
def test_what_is_no_image_is_refused(codec: Codec, image: Image) -> None:
    with pytest.raises(ImageError):
        codec.encode(image, quality=50)


@every_codec
@pytest.mark.parametrize("quality", [0, 101, -3])
def test_a_quality_out_of_range_is_refused(codec: Codec, quality: int) -> None:
    with pytest.raises(ConfigError, match=f"^quality {quality}: must be 1 to 100$"):
        codec.encode(scene(), quality=quality)


def test_a_quality_is_a_whole_number() -> None:
    assert check_quality(np.int64(7)) == 7  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^quality 7\.5: must be a whole number"):
        check_quality(7.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("quality", "distance"), [(100, 0.0), (90, 1.0), (68, 2.98), (30, 6.4), (10, 15.2667)])
def test_jxl_distances_are_libjxls(quality: int, distance: float) -> None:
    assert jxl_distance(quality) == pytest.approx(distance, abs=1e-4)


PUBLISHED_AT_43_DB = {"avif": 0.21, "jxl": 0.25, "jpeg2000": 0.39, "webp": 0.39, "jpeg": 0.46}
"""Bits per pixel at 43 dB on other solar cells, measured with the same libraries in another program."""


@lossy_codec
def test_rates_on_solar_cells_are_the_known_ones(codec: Codec) -> None:
    folder = DATA / "elpv" / "images"
    if not folder.is_dir():
        pytest.skip(f"no solar cells at {folder}; set INSPECT_COMPRESS_DATA")
    images = [read_image(path) for path in sorted(folder.glob("*.png"))[::250]]
    points = []
    for quality in (50, 70, 90):
        files = [codec.encode(image, quality=quality) for image in images]
        bpp = np.mean([8 * len(data) / image.size for data, image in zip(files, images, strict=True)])
        decoded = [codec.decode(data) for data in files]
        points.append((np.mean([psnr(a, b) for a, b in zip(images, decoded, strict=True)]), np.log(bpp)))
    at_43 = float(np.exp(np.interp(43.0, *np.array(points).T)))
    assert at_43 == pytest.approx(PUBLISHED_AT_43_DB[codec.codec_id], rel=0.25), json.dumps(points)
