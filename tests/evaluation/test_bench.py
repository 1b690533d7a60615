"""The bench command measures real files with real codecs, as a user calls it; BD-rate is what it claims."""

import json
import math
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.authors_shape import AuthorsNetwork
from evaluation.bench import BenchResult, Memory, Row, evenly_spaced, ladder_of, run_bench
from evaluation.bench_plot import rd_plot
from evaluation.image_paths import image_paths
from inspect_compress.bd import bd_rate, rising
from inspect_compress.classical import JpegCodec
from inspect_compress.codecs import codec_names
from inspect_compress.errors import DatasetError, ImageError
from inspect_compress.images import read_image, write_png
from tests.warm import run_warm

MAIN = "from inspect_compress.cli import main; main()"
CURVE = [(0.1 * 2**step, 30.0 + 3 * step) for step in range(6)]

installed = pytest.mark.skipif(
    not entry_points(group="inspect_compress.commands", name="bench"),
    reason="the project is not installed; run `pip install -e .`",
)


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_warm("bench", *arguments)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four noisy surfaces, one of them in colour and one of another size."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(3)
    for number, shape in enumerate([(64, 80), (64, 80), (64, 80, 3), (50, 41)]):
        ramp = np.linspace(60, 180, math.prod(shape)).reshape(shape)
        pixels = np.clip(ramp + rng.normal(0, 6, shape), 0, 255).astype(np.uint8)
        write_png(folder / f"frame{number}.png", pixels)
    return folder


@installed
def test_json_is_one_object_with_measured_rows(frames: Path) -> None:
    run = bench(frames, "--codecs", "jpeg,webp", "--qualities", "30,50,70,90", "--json")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["anchor"] == "jpeg"
    assert [(row["codec"], row["quality"]) for row in result["rows"]] == [
        (codec, quality) for codec in ("jpeg", "webp") for quality in (30, 50, 70, 90)
    ]
    for row in result["rows"]:
        assert row["images"] == 4
        assert 20 < row["psnr"] < 60
        assert 0 < row["ms_ssim"] <= 1
        assert row["encode_mpx_s"] > 0
        assert row["decode_mpx_s"] > 0
    assert set(result["bd_rate"]) == {"webp"}
    assert isinstance(result["bd_rate"]["webp"], float)


@installed
def test_bpp_counts_the_bytes_of_the_files(frames: Path) -> None:
    run = bench(frames, "--codecs", "jpeg", "--qualities", "60", "--json")
    images = [read_image(path) for path in sorted(frames.glob("*.png"))]
    files = [JpegCodec().encode(image, quality=60) for image in images]
    sizes = [8 * len(data) / (i.shape[0] * i.shape[1]) for data, i in zip(files, images, strict=True)]
    assert json.loads(run.stdout)["rows"][0]["bpp"] == pytest.approx(np.mean(sizes))


@installed
def test_a_lossless_codec_breaks_neither_json_table_nor_plot(frames: Path, tmp_path: Path) -> None:
    run = bench(frames, "--codecs", "png,jpeg", "--qualities", "20,40,60,80", "--out", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert "No BD-rate for png" in run.stdout
    result = json.loads((tmp_path / "out" / "bench.json").read_text(), parse_constant=pytest.fail)
    assert {row["psnr"] for row in result["rows"] if row["codec"] == "png"} == {None}
    assert result["bd_rate"] == {"png": None}
    assert read_image_size(tmp_path / "out" / "rd.png") > (1000, 400)


@installed
def test_results_are_replaced_only_when_told_to(frames: Path, tmp_path: Path) -> None:
    call = (frames, "--codecs", "jpeg", "--qualities", "50", "--limit", 1, "--out", tmp_path)
    assert bench(*call).returncode == 0
    refused = bench(*call)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"error: {tmp_path / 'bench.json'}: exists already; choose another name or pass --overwrite\n"
    )
    assert bench(*call, "--overwrite").returncode == 0


@installed
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codecs", "jpg"], "unknown codec 'jpg'; known: avif, "),
        (["--codecs", ","], "--codecs names no codec"),
        (["--codecs", "jpeg", "--qualities", "0,50"], "quality 0: must be 1 to 100"),
        (["--codecs", "jpeg", "--qualities", "high"], "must be whole numbers with commas"),
        (["--codecs", "jpeg", "--anchor", "webp"], "--anchor webp: is not among --codecs (jpeg)"),
        (["--codecs", "jpeg", "--split", "test"], "there is no split 'test'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_is_answered_in_one_line(frames: Path, arguments: list[str], message: str) -> None:
    run = bench(frames, *arguments)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("error: ")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


@installed
def test_an_image_that_cannot_be_read_is_named(frames: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes((frames / "frame0.png").read_bytes()[:400])
    run = bench(tmp_path, "--codecs", "jpeg")
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: {tmp_path / 'broken.png'}: is damaged or cut short")


@installed
def test_help_teaches_by_example() -> None:
    text = bench("--help").stdout
    assert "inspect-compress bench frames --codecs qarv,jpeg --limit 50 --out bench" in text
    for option in (
        "--codecs",
        "--qualities",
        "--limit",
        "--anchor",
        "--split",
        "--out",
        "--json",
        "--overwrite",
    ):
        assert option in text


@pytest.mark.skipif("jpeg" not in codec_names(), reason="the project is not installed; run `pip install -e .`")
def test_memory_and_progress_are_told_for_each_codec(frames: Path) -> None:
    steps: list[str] = []
    result = run_bench(image_paths(frames), ["jpeg", "png"], {"jpeg": [50, 80]}, anchor="jpeg", step=steps.append)
    assert steps == ["jpeg"] * 8 + ["png"] * 4
    for memory in result.memory.values():
        assert memory.process_mb > 20
        assert 0 < memory.added_mb < memory.process_mb


@pytest.mark.skipif("jpeg" not in codec_names(), reason="the project is not installed; run `pip install -e .`")
def test_an_error_in_a_codecs_process_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: cannot be read"):
        run_bench([tmp_path / "none.png"], ["jpeg"], {}, anchor="jpeg")
    write_png(tmp_path / "deep.png", np.full((9, 9), 4095, np.uint16))
    with pytest.raises(ImageError, match=r"deep\.png: has 12 bits per sample"):
        run_bench([tmp_path / "deep.png"], ["png"], {}, anchor="png")


def test_a_limit_takes_frames_from_the_whole_dataset() -> None:
    paths = [Path(str(number)) for number in range(10)]
    assert [path.name for path in evenly_spaced(paths, 4)] == ["0", "2", "5", "7"]
    assert [path.name for path in evenly_spaced(paths, 7)] == ["0", "1", "2", "4", "5", "7", "8"]
    assert evenly_spaced(paths, None) == evenly_spaced(paths, 99) == paths


def test_every_ladder_holds_valid_rising_qualities() -> None:
    for codec in ("qarv", "jpeg", "jpeg2000", "webp", "avif", "jxl", "png", "a plant's own"):
        ladder = ladder_of(codec)
        assert list(ladder) == sorted(set(ladder))
        assert 1 <= ladder[0] <= ladder[-1] <= 100
    assert ladder_of("qarv") == (20, 30, 40, 50, 60, 70, 80, 90)


def test_a_plot_of_nothing_but_lossless_rows_can_be_drawn() -> None:
    row = Row("png", 100, 1, 3.0, math.inf, 1, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert rd_plot(BenchResult([row], "png", {}, {"png": Memory(None, None)})).startswith(b"\x89PNG")


def test_bd_rate_of_a_codec_that_needs_a_fifth_less() -> None:
    result = bd_rate(CURVE, [(bpp * 0.8, psnr) for bpp, psnr in CURVE])
    assert result.percent == pytest.approx(-20)
    assert result.span == (30, 45)
    assert result.reason == ""


def test_bd_rate_says_what_share_of_the_anchors_range_it_covers_and_whether_that_is_enough() -> None:
    whole = bd_rate(CURVE, CURVE)
    assert (whole.overlap, whole.reliable) == (1.0, True)
    part = bd_rate(CURVE, [(bpp, psnr + 10) for bpp, psnr in CURVE])
    assert part.overlap == pytest.approx(1 / 3)
    assert (part.reliable, part.percent is None) == (False, False)
    assert part.doubt == "the curves share only 33% of the anchor's range; 50% are needed"


def test_bd_rate_of_a_curve_that_does_not_rise_is_not_reliable() -> None:
    result = bd_rate(CURVE, [*CURVE, (CURVE[-1][0] + 1, 33.0)])
    assert result.percent == pytest.approx(0)
    assert result.doubt.startswith("the codec does not rise: 1 of its points")


def test_bd_rate_takes_points_in_any_order_and_twice() -> None:
    shuffled = [CURVE[place] for place in (3, 0, 5, 1, 3, 2, 4)]
    assert bd_rate(CURVE, shuffled).percent == pytest.approx(0)


def test_bd_rate_leaves_out_points_that_are_beaten_or_lossless() -> None:
    worse = [(0.5, 33.0), (9.0, math.inf), (0.1, 29.0)]
    assert rising([*worse, *CURVE]) == CURVE
    assert bd_rate(CURVE, [*worse, *CURVE]).percent == pytest.approx(0)


def test_bd_rate_needs_four_points() -> None:
    result = bd_rate(CURVE, CURVE[:3])
    assert result.percent is None
    assert result.reason == "the codec has 3 usable points; 4 are needed"


def test_bd_rate_needs_a_shared_range() -> None:
    result = bd_rate(CURVE, [(bpp, psnr + 50) for bpp, psnr in CURVE])
    assert result.percent is None
    assert "share no range" in result.reason


def test_a_csv_gives_its_test_split_unless_told_otherwise(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,split\na.png,train\nb.png,test\n")
    assert image_paths(tmp_path) == image_paths(table) == [tmp_path / "b.png"]
    assert image_paths(tmp_path, "train") == [tmp_path / "a.png"]
    with pytest.raises(DatasetError, match="no rows of split 'validation'; known: test, train"):
        image_paths(tmp_path, "validation")


def test_a_csv_without_a_split_gives_all_rows(tmp_path: Path) -> None:
    table = tmp_path / "frames.csv"
    table.write_text("defect,image\n,a.png\nscratch,sub/b.png\n")
    assert image_paths(table) == [tmp_path / "a.png", tmp_path / "sub/b.png"]
    with pytest.raises(DatasetError, match="has no column 'split'"):
        image_paths(table, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("path\na.png\n", "no column 'image'"),
        ("image,defect\n,x\n", "line 2 names no image"),
    ],
    ids=["empty", "no column", "no name"],
)
def test_a_csv_that_lists_no_images_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        image_paths(tmp_path)


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is neither a folder nor a CSV file"):
        image_paths(tmp_path / "none")


def read_image_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as file:
        return file.size


def test_the_authors_network_has_the_size_that_they_state() -> None:
    assert sum(parameter.numel() for parameter in AuthorsNetwork().parameters()) == pytest.approx(93.4e6, rel=0.001)


def test_the_authors_network_encodes_to_features_and_decodes_to_a_picture() -> None:
    with torch.inference_mode():
        network, images = AuthorsNetwork(), torch.rand(1, 3, 64, 128)
        assert network.encode(images).shape == (1, 128, 16, 32)
        assert network.decode(images).shape == images.shape


def test_without_a_dataset_it_asks_for_one() -> None:
    done = bench()
    assert done.returncode == 1
    assert "DATASET is missing" in done.stderr
