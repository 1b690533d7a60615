"""Where bits went: every bit of a file is on the map, at the pixels it serves; and what the drawing shows of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inspect_compress.demand import Demand, Priority
from inspect_compress.errors import ImageError, OutOfStepError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image, read_image, write_png
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.coding import no_bits
from inspect_compress.qarv.container import Header
from inspect_compress.qarv.explain import Explanation, bits_of_blocks, explain
from inspect_compress.qarv.explain_plot import explain_plot
from inspect_compress.qarv.lmbda_map import index_of, quality_of
from inspect_compress.qarv.network import Shape
from inspect_compress.qarv.strides import STRIDES

CODEC = QarvCodec()
MARGIN, FOLDED = Shape(folded=False), Shape(folded=True)
HERE = Path(__file__).parent
SAMPLES = HERE.parents[2] / "sample_data" / "images"
FILES = sorted([*HERE.glob("golden/*-60.qarv"), *HERE.glob("golden/*-map.qarv"), *HERE.glob("vectors/*-90.qarv")])


def noise(height: int, width: int, *channels: int) -> Image:
    return np.random.default_rng(0).integers(60, 200, (height, width, *channels)).astype(np.uint8)


def explained(folder: Path, image: Image, demand: Demand, *, with_original: bool = True) -> Explanation:
    (folder / "part.qarv").write_bytes(CODEC.draft(image, demand).data)
    write_png(folder / "part.png", image, overwrite=True)
    return explain(folder / "part.qarv", folder / "part.png" if with_original else None)


def header(height: int, width: int, *, halved: bool = False) -> Header:
    return Header(width, height, 3 if halved else 1, 8, "0123456789abcdef", 0, halved)


def assert_every_bit_is_there(explanation: Explanation) -> None:
    """A stream ends with what its last byte, or in version 1 its last two words, have more than its symbols."""
    end = 8 if explanation.described["version"] == 1 else 2
    assert explanation.block_bits.sum() == pytest.approx(sum(explanation.level_bits.values()))
    for level in explanation.described["levels"]:
        bits = explanation.level_bits[level["stride"]]
        assert -2 <= level["bytes"] - bits / 8 <= end + bits / 8 / 500


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_bit_of_every_kind_of_file_is_on_the_map(file: Path) -> None:
    try:
        explanation = explain(file)
    except OutOfStepError:
        pytest.skip("this machine's float arithmetic is not that of the machine that made the vectors")
    assert_every_bit_is_there(explanation)
    assert explanation.block_bits.shape == tuple(-(-side // 8) for side in explanation.picture.shape[:2])
    np.testing.assert_array_equal(explanation.picture, CODEC.decode(file.read_bytes()))


@pytest.mark.parametrize("quality", [1, 60, 100])
def test_the_bits_of_a_real_frame_are_its_files(tmp_path: Path, quality: int) -> None:
    image = read_image(SAMPLES / "cast" / "cast-0001.png")
    explanation = explained(tmp_path, image, Demand(quality))
    assert_every_bit_is_there(explanation)
    size = (tmp_path / "part.qarv").stat().st_size
    assert explanation.block_bits.sum() / 8 + explanation.header_bytes == pytest.approx(size, abs=6)


@pytest.mark.parametrize("channels", [(), (3,)], ids=["mono", "colour"])
@pytest.mark.parametrize("quality", [50, 90], ids=["halved", "whole"])
def test_bits_are_where_the_frame_is_busy(tmp_path: Path, channels: tuple[int, ...], quality: int) -> None:
    image = np.full((96, 160, *channels), 128, np.uint8)
    image[32:64, 96:144] = noise(32, 48, *channels)
    explanation = explained(tmp_path, image, Demand(quality))
    bits = explanation.block_bits
    assert bits[4:8, 12:18].sum() > 0.5 * bits.sum()
    assert bits[2:10, 10:20].sum() > 0.85 * bits.sum()  # those around them as well
    assert bits[:, :9].sum() < 0.1 * bits.sum()
    assert explanation.busiest_share > 0.5


@pytest.mark.parametrize("shape", [MARGIN, FOLDED], ids=["margin", "folded"])
@pytest.mark.parametrize("stride", STRIDES)
def test_bits_of_a_place_are_spread_over_its_pixels(stride: int, shape: Shape) -> None:
    part = no_bits(shape, 64, 96)
    part[stride][1, 1] = 64.0
    blocks = bits_of_blocks([part], header(64, 96), shape.margin)
    pixels = np.zeros((64, 96))
    first = stride - shape.margin
    pixels[first : first + stride, first : first + stride] = 64 / stride**2
    np.testing.assert_allclose(blocks, pixels.reshape(8, 8, 12, 8).sum(axis=(1, 3)))


def test_places_are_cut_at_the_beginning_and_moved_back_at_the_end() -> None:
    part = no_bits(MARGIN, 50, 50)
    part[16][3, 0] = 12 * 16  # pixels 44 to 60 of those from top to bottom, −4 to 12 of those from left to right
    blocks = bits_of_blocks([part], header(50, 50), MARGIN.margin)
    pixels = np.zeros((56, 56))
    pixels[34:50, :12] = 1
    np.testing.assert_allclose(blocks, pixels.reshape(7, 8, 7, 8).sum(axis=(1, 3)))


def test_a_place_of_halved_planes_has_twice_the_pixels() -> None:
    part = no_bits(MARGIN, 32, 32)
    part[8][1, 2] = 4.0
    blocks = bits_of_blocks([no_bits(MARGIN, 64, 64), part], header(64, 64, halved=True), MARGIN.margin)
    assert blocks.sum() == pytest.approx(4)
    np.testing.assert_allclose(blocks[1:3, 3:5], np.ones((2, 2)))


@pytest.mark.parametrize("shape", [MARGIN, FOLDED], ids=["margin", "folded"])
@pytest.mark.parametrize("side", [1, 4, 5, 8, 9, 31, 33])
def test_what_lies_past_the_picture_is_not_lost(side: int, shape: Shape) -> None:
    part = {stride: np.ones_like(bits) for stride, bits in no_bits(shape, side, side).items()}
    blocks = bits_of_blocks([part], header(side, side), shape.margin)
    assert blocks.sum() == pytest.approx(sum(bits.size for bits in part.values()))
    assert (blocks > 0).all()


def test_errors_are_those_of_the_pictures(tmp_path: Path) -> None:
    image = noise(40, 50, 3)
    explanation = explained(tmp_path, image, Demand(80))
    decoded = CODEC.decode((tmp_path / "part.qarv").read_bytes())
    assert explanation.loss is not None
    np.testing.assert_array_equal(explanation.loss.absolute, np.abs(image.astype(int) - decoded).max(axis=2))
    assert explanation.loss.psnr == psnr(image, decoded)
    assert explanation.loss.ms_ssim == ms_ssim(image, decoded)


def test_another_original_is_refused_by_name(tmp_path: Path) -> None:
    explained(tmp_path, noise(40, 50), Demand(80))
    write_png(tmp_path / "turned.png", noise(50, 40))
    with pytest.raises(ImageError, match=r"turned\.png: has 40x50 grey pixels and .*part\.qarv 50x40 grey"):
        explain(tmp_path / "part.qarv", tmp_path / "turned.png")
    write_png(tmp_path / "deep.png", noise(40, 50).astype(np.uint16))
    with pytest.raises(ImageError, match=r"deep\.png: has \d+ bits"):
        explain(tmp_path / "part.qarv", tmp_path / "deep.png")


def test_regions_have_their_qualities_and_more_bits(tmp_path: Path) -> None:
    mask = np.zeros((128, 256), np.uint8)
    mask[:, 160:] = 255
    explanation = explained(tmp_path, noise(128, 256), Demand(priority=Priority(mask, 20, 70)))
    assert explanation.qualities == (20, 70)
    assert explanation.map_bytes > 0
    assert explanation.facts()["header_bytes"] + explanation.map_bytes < 60
    assert explanation.bits_per_pixel[:, 21:].mean() > 2 * explanation.bits_per_pixel[:, :18].mean()


def test_a_quality_is_known_from_its_index() -> None:
    assert [quality_of(index_of(quality)) for quality in range(1, 101)] == list(range(1, 101))


@pytest.mark.parametrize("shape", [(1, 1), (3, 2, 3), (300, 20), (20, 900), (2, 3000)])
@pytest.mark.parametrize("with_original", [False, True])
def test_frames_of_any_shape_are_drawn(tmp_path: Path, shape: tuple[int, ...], with_original: bool) -> None:
    explanation = explained(tmp_path, noise(*shape), Demand(60), with_original=with_original)
    drawn = explain_plot(explanation)
    assert drawn.dtype == np.uint8
    assert all(600 < side < 2600 for side in drawn.shape[:2])
    assert (drawn[[0, -1]] == 255).all()
    assert (drawn[:, [0, -1]] == 255).all()


def test_names_are_drawn_as_they_are(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "part.qarv").write_bytes(CODEC.encode(noise(20, 20), quality=50))
    for name in ("a$b$\\frac{.qarv", "検査１.qarv", "long" * 50 + ".qarv", "line\nbreak\udcff.qarv"):
        path = tmp_path / name
        path.write_bytes((tmp_path / "part.qarv").read_bytes())
        assert explain_plot(explain(path)).ndim == 3
    assert not recwarn.list


def test_the_numbers_do_without_the_drawing() -> None:
    program = (
        "import sys, inspect_compress.commands, inspect_compress.qarv.explain; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"False"]
