"""The QARV codec with the shipped weights: exact reconstruction, any size, every damage refused."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inspect_compress import load_codec
from inspect_compress.errors import (
    ConfigError,
    CutShortError,
    FormatError,
    ImageError,
    OutOfStepError,
    UnknownModelError,
)
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.container import write_container
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.lmbda_map import grid, index_of
from inspect_compress.qarv.network import Shape

CODEC = QarvCodec()


def surface(height: int, width: int, *, colour: bool = False, seed: int = 0) -> Image:
    """A lit, grained, scratched plate."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    plate = 120 + 40 * np.sin(x / 37) + 0.1 * y + rng.normal(0, 3, (height, width))
    plate[np.abs(x - 2 * y) < 2] += 50
    if colour:
        plate = plate[..., None] * (1.0, 0.8, 0.5)
    return np.clip(plate, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (31, 2), (32, 32), (57, 91), (1, 1, 3), (40, 33, 3)])
@pytest.mark.parametrize("quality", [1, 60, 100])
def test_decoding_gives_the_encoders_reconstruction(shape: tuple[int, ...], quality: int) -> None:
    image = surface(*shape[:2], colour=len(shape) == 3)
    encoded = CODEC.encode_and_reconstruct(image, quality=quality)
    decoded = CODEC.decode(encoded.data)
    assert decoded.dtype == np.uint8
    assert decoded.shape == image.shape
    np.testing.assert_array_equal(decoded, encoded.reconstruction)
    assert CODEC.encode(image, quality=quality) == encoded.data


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_noise_of_any_size_decodes_exactly(height: int, width: int, colour: bool, quality: int, seed: int) -> None:
    shape = (height, width, 3) if colour else (height, width)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    encoded = CODEC.encode_and_reconstruct(image, quality=quality)
    np.testing.assert_array_equal(CODEC.decode(encoded.data), encoded.reconstruction)


@pytest.mark.parametrize("shape", [(8192, 24), (24, 8192)])
def test_the_longest_sides(shape: tuple[int, int]) -> None:
    image = surface(*shape)
    encoded = CODEC.encode_and_reconstruct(image, quality=50)
    np.testing.assert_array_equal(CODEC.decode(encoded.data), encoded.reconstruction)


_LARGEST = """
import hashlib, resource, sys
import numpy as np
from inspect_compress.qarv.codec import QarvCodec
image = np.add.outer(np.arange(8192) // 64, np.arange(8192) // 48).astype(np.uint8)
image += np.random.default_rng(0).integers(0, 9, image.shape, dtype=np.uint8)
codec = QarvCodec()
if sys.argv[1] == "encode":
    encoded = codec.encode_and_reconstruct(image, quality=50)
    open(sys.argv[2], "wb").write(encoded.data)
    picture = encoded.reconstruction
else:
    picture = codec.decode(open(sys.argv[2], "rb").read())
print(hashlib.sha256(picture.tobytes()).hexdigest(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_the_largest_image_decodes_exactly_in_under_3_gb(tmp_path: Path) -> None:
    hashes = []
    for work in ("encode", "decode"):
        command = [sys.executable, "-c", _LARGEST, work, str(tmp_path / "frame.qarv")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        hashes.append(printed[0])
        assert int(printed[1]) < 3e9, work
    assert hashes[0] == hashes[1]


_DECODE = """
import hashlib, sys, torch
from pathlib import Path
from inspect_compress import load_codec
if sys.argv[2] != "default":
    torch.set_num_threads(int(sys.argv[2]))
picture = load_codec("qarv").decode(Path(sys.argv[1]).read_bytes())
print(hashlib.sha256(picture.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("threads", ["1", "2", "5", "default"])
def test_another_process_with_any_thread_count_decodes_the_same(tmp_path: Path, threads: str) -> None:
    encoded = CODEC.encode_and_reconstruct(surface(400, 555, colour=True), quality=70)
    file = tmp_path / "frame.qarv"
    file.write_bytes(encoded.data)
    environment = dict(os.environ)
    if threads != "default":
        environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = threads
    printed = subprocess.run(
        [sys.executable, "-c", _DECODE, str(file), threads],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == hashlib.sha256(encoded.reconstruction.tobytes()).hexdigest()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_encoders_thread_count_does_not_matter_and_is_left_alone(threads: int) -> None:
    image = surface(450, 450)
    expected = CODEC.encode(image, quality=60)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert CODEC.encode(image, quality=60) == expected
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_batches_give_the_bytes_and_pixels_of_one_by_one() -> None:
    images = [surface(450, 320), surface(90, 120, colour=True), surface(1, 1)]
    files = CODEC.encode_batch(images, quality=70)
    assert files == [CODEC.encode(image, quality=70) for image in images]
    for picture, file in zip(CODEC.decode_batch(files), files, strict=True):
        np.testing.assert_array_equal(picture, CODEC.decode(file))


@pytest.mark.parametrize("quality", [20, 95])
def test_colour_is_kept_at_low_and_at_high_quality(quality: int) -> None:
    """Difference planes are halved at the low one."""
    image = surface(64, 97, colour=True)
    encoded = CODEC.encode_and_reconstruct(image, quality=quality)
    assert read_container(encoded.data).header.halved == (quality == 20)
    for channel in range(3):
        assert psnr(image[..., channel], encoded.reconstruction[..., channel]) > 30


def test_several_frames_at_once_give_the_same_bytes_as_one_by_one() -> None:
    images = [surface(90, 120, seed=seed) for seed in range(8)]
    expected = [CODEC.encode(image, quality=50) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda image: CODEC.encode(image, quality=50), images)) == expected


def test_more_quality_means_more_bytes_and_less_error() -> None:
    image = surface(256, 256)
    coded = [CODEC.encode_and_reconstruct(image, quality=quality) for quality in range(10, 101, 10)]
    sizes = [len(one.data) for one in coded]
    fidelity = [psnr(image, one.reconstruction) for one in coded]
    assert sizes == sorted(sizes)
    assert fidelity == sorted(fidelity)


def test_quality_spans_all_of_lambda() -> None:
    assert (index_of(1), index_of(100)) == (0, 255)
    shape = Shape(lmbda_min=16, lmbda_max=8192)
    assert shape.lmbda_of(0) == pytest.approx(16)
    assert shape.lmbda_of(255) == pytest.approx(8192)
    assert shape.lmbda_of(101) / shape.lmbda_of(100) < 1.025


def test_grey_in_three_channels_stays_grey() -> None:
    grey = surface(64, 64)
    decoded = CODEC.decode(CODEC.encode(np.repeat(grey[..., None], 3, axis=2), quality=90)).astype(int)
    assert np.abs(decoded - decoded.mean(axis=2, keepdims=True)).max() <= 2


@pytest.fixture(scope="module")
def frame() -> bytes:
    return CODEC.encode(surface(48, 40), quality=40)


def test_a_real_file_cut_at_any_byte_is_refused(frame: bytes) -> None:
    for end in range(len(frame)):
        with pytest.raises(FormatError):
            CODEC.decode(frame[:end])


def test_a_real_file_with_any_byte_changed_is_refused(frame: bytes) -> None:
    for position in range(len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 1 + position % 255
        with pytest.raises(FormatError):
            CODEC.decode(bytes(changed))


def test_wrong_symbols_behind_a_right_checksum_are_refused_not_shown(frame: bytes) -> None:
    """What a decoder that has lost step would see: sound bytes that give other symbols."""
    container = read_container(frame)
    for number, level in enumerate(container.levels):
        data = bytearray(level.data)
        data[0] ^= 0x40
        levels = list(container.levels)
        levels[number] = replace(level, data=bytes(data))
        with pytest.raises(OutOfStepError):
            CODEC.decode(write_container(container.header, levels))


def test_an_unknown_model_is_named(frame: bytes) -> None:
    container = read_container(frame)
    foreign = replace(container.header, model="00112233")
    with pytest.raises(UnknownModelError, match=f"00112233 is not installed; installed: .*{CODEC.model}"):
        CODEC.decode(write_container(foreign, container.levels))


@pytest.mark.parametrize("colour", [False, True])
def test_every_prefix_shows_the_levels_that_it_holds_and_no_more(colour: bool) -> None:
    image = surface(70, 90, colour=colour)
    whole = CODEC.encode(image, quality=70)
    ends = read_container(whole).ends
    previews = [CODEC.decode(whole, levels=count) for count in (1, 2, 3)]
    assert psnr(image, previews[0]) < psnr(image, previews[1]) < psnr(image, previews[2])
    np.testing.assert_array_equal(previews[2], CODEC.decode(whole))
    for count, end in enumerate(ends, 1):
        np.testing.assert_array_equal(CODEC.decode(whole[:end], levels=count), previews[count - 1])
        np.testing.assert_array_equal(CODEC.decode(whole[: end + 1], levels=count), previews[count - 1])
        with pytest.raises(
            CutShortError, match=f"inside level {count}: .* needs {end} bytes, and there are {end - 1}"
        ):
            CODEC.decode(whole[: end - 1], levels=count)
    with pytest.raises(ConfigError, match="levels 4 is not from 1 to 3"):
        CODEC.decode(whole, levels=4)


def test_a_prefix_with_any_byte_changed_is_refused_or_shows_the_same(frame: bytes) -> None:
    """The lengths of the levels after the preview do not matter to it."""
    container = read_container(frame)
    shown, end, refused = CODEC.decode(frame, levels=1), container.ends[0], 0
    for position in range(end):
        changed = bytearray(frame[:end])
        changed[position] ^= 1 + position % 255
        try:
            np.testing.assert_array_equal(CODEC.decode(bytes(changed), levels=1), shown)
        except FormatError:
            refused += 1
    assert refused >= end - 4


def test_a_preview_of_an_older_file() -> None:
    data = (Path(__file__).parent / "golden" / "bef6c1eb49465a98-frame-mono-60.qarv").read_bytes()
    assert read_container(data).version == 1
    first, second, whole = (CODEC.decode(data, levels=count) for count in (1, 2, 3))
    np.testing.assert_array_equal(whole, CODEC.decode(data))
    assert psnr(whole, first) < psnr(whole, second)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_map_of_lambda_decodes_exactly(height: int, width: int, colour: bool, seed: int) -> None:
    image = surface(height, width, colour=colour)
    cells = grid(height, width, CODEC.margin)
    indexes = np.random.default_rng(seed).choice((0, 90, 150, 255), cells).astype(np.uint8)
    encoded = CODEC.encode_at(image, indexes)
    np.testing.assert_array_equal(CODEC.decode(encoded.data), encoded.reconstruction)


def test_a_map_spends_the_bits_where_it_says() -> None:
    image = surface(256, 256)
    indexes = np.full(grid(256, 256, CODEC.margin), 60, np.uint8)
    indexes[:, 4:] = 200
    picture = CODEC.encode_at(image, indexes).reconstruction
    assert psnr(image[:, 160:], picture[:, 160:]) > psnr(image[:, :96], picture[:, :96]) + 6


@pytest.mark.parametrize(
    "image", [np.zeros((0, 5), np.uint8), np.zeros((8, 8), np.uint16), np.zeros((8, 8, 4), np.uint8)]
)
def test_what_is_not_a_frame_is_refused(image: Image) -> None:
    with pytest.raises(ImageError):
        CODEC.encode(image, quality=50)


@pytest.mark.parametrize("quality", [0, 101, 50.5])
def test_quality_out_of_range_is_refused(quality: int) -> None:
    with pytest.raises(ConfigError, match="1 to 100"):
        CODEC.encode(surface(8, 8), quality=quality)


def test_it_is_found_by_name() -> None:
    codec = load_codec("qarv")
    assert codec.codec_id == "qarv"
    np.testing.assert_array_equal(codec.decode(codec.encode(surface(20, 20), quality=60)).shape, (20, 20))
