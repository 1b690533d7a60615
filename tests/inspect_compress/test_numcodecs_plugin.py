"""QARV through numcodecs alone, as installed; the first script imports nothing of ours."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from inspect_compress.errors import ConfigError, DamagedFileError, ImageError
from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec

CODEC = QarvCodec()


def plate(*shape: int, seed: int = 0) -> Image:
    """A picture, `(H, W)` or `(H, W, 3)`."""
    noise = np.random.default_rng(seed).normal(0, 4, shape)
    return (noise.cumsum(axis=1) / 6 + 128).clip(0, 255).astype(np.uint8)


def script(source: str, folder: Path) -> str:
    """What a script prints, run with `folder` as its working directory, in silence otherwise."""
    result = subprocess.run([sys.executable, "-c", source], cwd=folder, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


def test_found_by_its_name_without_an_import_of_ours(tmp_path: Path) -> None:
    np.save(tmp_path / "part.npy", plate(60, 80))
    source = """
import sys, numcodecs, numpy
codec = numcodecs.get_codec({"id": "qarv", "quality": 70})
light = "torch" not in sys.modules
data = codec.encode(numpy.load("part.npy"))
open("part.qarv", "wb").write(data)
numpy.save("back.npy", codec.decode(data))
print(light)
"""
    assert script(source, tmp_path) == "True"
    data = (tmp_path / "part.qarv").read_bytes()
    assert data == CODEC.encode(plate(60, 80), quality=70)
    np.testing.assert_array_equal(np.load(tmp_path / "back.npy"), CODEC.decode(data))


@pytest.mark.parametrize(
    ("shape", "picture"),
    [
        ((40, 50), (40, 50)),
        ((40, 50, 3), (40, 50, 3)),
        ((1, 40, 50), (40, 50)),
        ((1, 1, 40, 50), (40, 50)),
        ((1, 40, 50, 3), (40, 50, 3)),
        ((1, 1, 40, 50, 3), (40, 50, 3)),
        ((1, 50), (1, 50)),
        ((1, 50, 3), (1, 50, 3)),
        ((1, 1, 50, 3), (1, 50, 3)),
        ((1, 1, 1), (1, 1)),
    ],
)
def test_a_chunk_is_one_picture(shape: tuple[int, ...], picture: tuple[int, ...]) -> None:
    codec = numcodecs.get_codec({"id": "qarv", "quality": 90})
    data = codec.encode(plate(*picture).reshape(shape))
    assert data == CODEC.encode(plate(*picture), quality=90)
    back = codec.decode(data)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, CODEC.decode(data))


def test_any_layout_in_memory() -> None:
    codec = numcodecs.get_codec({"id": "qarv"})
    image = plate(40, 50, 3)
    for same in (np.asfortranarray(image), np.repeat(image, 2, axis=0)[::2], memoryview(image)):
        assert codec.encode(same) == CODEC.encode(image, quality=60)


def test_better_quality_makes_larger_files() -> None:
    sizes = [len(numcodecs.get_codec({"id": "qarv", "quality": q}).encode(plate(64, 96))) for q in (5, 60, 95)]
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_files_come_in_any_buffer(kind: Any) -> None:
    data = CODEC.encode(plate(40, 50), quality=60)
    np.testing.assert_array_equal(numcodecs.get_codec({"id": "qarv"}).decode(kind(data)), CODEC.decode(data))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(40, 50, 3), (1, 40, 50, 3)])
def test_decoding_into_an_array(shape: tuple[int, ...], order: Any) -> None:
    data = CODEC.encode(plate(40, 50, 3), quality=60)
    out = np.zeros(shape, np.uint8, order=order)
    assert numcodecs.get_codec({"id": "qarv"}).decode(data, out=out) is out
    np.testing.assert_array_equal(out.reshape(40, 50, 3), CODEC.decode(data))


def test_decoding_into_a_plain_buffer() -> None:
    data = CODEC.encode(plate(40, 50), quality=60)
    out = bytearray(40 * 50)
    numcodecs.get_codec({"id": "qarv"}).decode(data, out=out)
    assert out == CODEC.decode(data).tobytes()
    with pytest.raises(ImageError, match="out: has 1999 bytes, and the picture 2000"):
        numcodecs.get_codec({"id": "qarv"}).decode(data, out=bytearray(1999))


def test_its_configuration_makes_the_same_codec_again() -> None:
    codec = numcodecs.get_codec({"id": "qarv", "quality": np.int64(70)})
    config = json.loads(json.dumps(codec.get_config()))
    assert config == {"id": "qarv", "quality": 70}
    assert numcodecs.get_codec(config) == codec
    assert numcodecs.get_codec({"id": "qarv"}) == numcodecs.get_codec({"id": "qarv", "quality": 60}) != codec
    assert repr(codec) == "Qarv(quality=70)"


def test_a_budget_instead_of_a_quality() -> None:
    codec = numcodecs.get_codec({"id": "qarv", "max_bytes": 500})
    assert codec.get_config() == {"id": "qarv", "max_bytes": 500}
    assert 485 <= len(codec.encode(plate(90, 120))) <= 500


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((8, 8), np.float32), "chunk: is of type float32"),
        (np.zeros((8, 8), np.int8), "chunk: is of type int8"),
        (np.zeros((2, 8, 8), np.uint8), r"chunk: has shape \(2, 8, 8\)"),
        (np.zeros((1, 8, 8, 4), np.uint8), r"chunk: has shape \(8, 8, 4\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"chunk: has shape \(2, 8, 8, 3\)"),
        (b"a flat buffer", r"chunk: has shape \(13,\)"),
        (np.zeros((0, 8), np.uint8), "chunk: is 8x0"),
        (np.zeros((1, 8193), np.uint8), "chunk: is 8193x1"),
    ],
)
def test_what_is_not_a_picture_is_refused(array: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        numcodecs.get_codec({"id": "qarv"}).encode(array)


@pytest.mark.parametrize("quality", [0, 101, 50.5])
def test_a_quality_out_of_range_is_refused(quality: Any) -> None:
    with pytest.raises(ConfigError, match="1 to 100"):
        numcodecs.get_codec({"id": "qarv", "quality": quality})


def test_a_damaged_file_gives_no_picture() -> None:
    codec = numcodecs.get_codec({"id": "qarv"})
    data = codec.encode(plate(40, 50))
    for damaged in (b"", b"no picture", data[:-1], data[:60] + bytes([data[60] ^ 1]) + data[61:]):
        out = np.full((40, 50), 7, np.uint8)
        with pytest.raises(DamagedFileError):
            codec.decode(damaged, out=out)
        assert (out == 7).all()


def test_the_package_does_without_numcodecs(tmp_path: Path) -> None:
    source = """
import sys
sys.modules["numcodecs"] = None
import inspect_compress, numpy
print(len(inspect_compress.load_codec("qarv").encode(numpy.zeros((8, 8), numpy.uint8), quality=50)) > 0)
"""
    assert script(source, tmp_path) == "True"
