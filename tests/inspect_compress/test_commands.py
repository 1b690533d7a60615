"""The command line as people and scripts use it: real processes, real files, one clear line for what is wrong."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image, read_image, write_png
from tests.warm import run_warm

PROGRAM = str(Path(sys.executable).with_name("inspect-compress"))


def call(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_warm(*arguments, cwd=cwd)


def plate(height: int = 60, width: int = 80, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (height, width)).cumsum(axis=1) / 6 + 128).clip(0, 255).astype(np.uint8)


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error that names the things, no traceback, status 1."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error:") == 1
    for word in words:
        assert word in result.stderr


def test_a_file_there_and_back(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    for words in (["compress", "part.png", "part.qarv", "--quality", "80"], ["decompress", "part.qarv", "back.png"]):
        subprocess.run([PROGRAM, *words], cwd=tmp_path, check=True)
    assert np.abs(read_image(tmp_path / "back.png").astype(int) - plate()).mean() < 3


def test_info_says_what_the_header_says(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate(31, 47))
    call("compress", "part.png", "part.qarv", "--quality", "100", cwd=tmp_path)
    facts = json.loads(call("info", "part.qarv", "--json", cwd=tmp_path).stdout)
    size = (tmp_path / "part.qarv").stat().st_size
    assert (facts["width"], facts["height"], facts["channels"], facts["bit_depth"]) == (47, 31, 1, 8)
    assert (facts["lmbda"], facts["bytes"]) == (16384, size)
    assert [level["stride"] for level in facts["levels"]] == [32, 16, 8]
    assert (facts["version"], facts["lmbda_map"]) == (2, None)
    ends = [level["preview_bytes"] for level in facts["levels"]]
    assert ends[-1] == size - 4
    assert [b - a for a, b in pairwise(ends)] == [level["bytes"] + 2 for level in facts["levels"][1:]]
    table = call("info", "part.qarv", cwd=tmp_path).stdout
    assert facts["model"] in table


@pytest.mark.parametrize("codec", ["qarv", "jpeg", "jxl"])
def test_a_folder_is_mirrored_and_bad_files_are_listed(tmp_path: Path, codec: str) -> None:
    frames = tmp_path / "frames"
    (frames / "line 1").mkdir(parents=True)
    write_png(frames / "a.png", plate(seed=1))
    write_png(frames / "line 1" / "b.png", plate(seed=2))
    (frames / "cut.png").write_bytes((frames / "a.png").read_bytes()[:200])
    (frames / "empty.png").write_bytes(b"")

    result = call("compress", "frames", "packed", "--codec", codec, cwd=tmp_path)

    assert result.returncode == 1
    assert "2 of 4 done" in result.stdout
    assert "cut.png" in result.stderr
    assert "empty.png" in result.stderr
    written = sorted(p.relative_to(tmp_path / "packed").with_suffix("") for p in (tmp_path / "packed").rglob("*.*"))
    assert written == [Path("a"), Path("line 1/b")]
    assert call("decompress", "packed", "back", cwd=tmp_path).returncode == 0
    assert read_image(tmp_path / "back" / "line 1" / "b.png").shape == (60, 80)


def test_files_that_differ_only_in_their_suffix_are_both_kept(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    write_png(tmp_path / "frames" / "a.png", plate())
    PillowImage.fromarray(plate(20, 20)).save(tmp_path / "frames" / "a.bmp")
    assert call("compress", "frames", "packed", cwd=tmp_path).returncode == 0
    assert sorted(p.name for p in (tmp_path / "packed").iterdir()) == ["a.bmp.qarv", "a.png.qarv"]


def test_an_output_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    (tmp_path / "part.qarv").write_bytes(b"precious")
    refused(call("compress", "part.png", "part.qarv", cwd=tmp_path), "part.qarv", "exists")
    assert (tmp_path / "part.qarv").read_bytes() == b"precious"
    assert call("compress", "part.png", "part.qarv", "--overwrite", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("deep.png", PillowImage.fromarray(np.full((9, 9), 4000, np.uint16)), "12 bits per sample"),
        ("palette.png", PillowImage.fromarray(plate()).convert("P"), "palette"),
        ("ink.jpg", PillowImage.fromarray(plate()).convert("CMYK"), "CMYK"),
        ("glass.png", PillowImage.fromarray(plate()).convert("RGBA"), "alpha"),
    ],
)
def test_unsupported_images_are_refused_by_name(
    tmp_path: Path, name: str, image: PillowImage.Image, reason: str
) -> None:
    image.save(tmp_path / name)
    refused(call("compress", name, "out.qarv", cwd=tmp_path), name, reason)
    assert not (tmp_path / "out.qarv").exists()


@pytest.mark.parametrize(("codec", "packed"), [("png", "packed.png"), ("jxl", "packed.jxl")])
def test_16_bits_there_and_back(tmp_path: Path, codec: str, packed: str) -> None:
    deep = plate().astype(np.uint16) * 257
    write_png(tmp_path / "part.png", deep)
    call("compress", "part.png", packed, "--codec", codec, "--quality", "100", cwd=tmp_path)
    assert call("decompress", packed, "back.png", cwd=tmp_path).returncode == 0
    np.testing.assert_array_equal(read_image(tmp_path / "back.png"), deep)


def test_what_is_not_there_or_not_known_is_named(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    (tmp_path / "empty").mkdir()
    refused(call("compress", "gone.png", "out.qarv", cwd=tmp_path), "gone.png")
    refused(call("compress", "empty", "out", cwd=tmp_path), "empty", "holds no images")
    refused(call("compress", "part.png", "o.xyz", "--codec", "xyz", cwd=tmp_path), "'xyz'", "known:", "qarv")
    refused(call("compress", "part.png", "o.qarv", "--quality", "0", cwd=tmp_path), "quality 0", "1 to 100")
    refused(call("decompress", "part.xyz", "out.png", cwd=tmp_path), "part.xyz", ".qarv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "part.png"]


def test_a_damaged_file_gives_no_picture(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    call("compress", "part.png", "part.qarv", cwd=tmp_path)
    data = bytearray((tmp_path / "part.qarv").read_bytes())
    data[-20] ^= 1
    (tmp_path / "part.qarv").write_bytes(data)
    refused(call("decompress", "part.qarv", "back.png", cwd=tmp_path), "part.qarv", "checksum")
    assert not (tmp_path / "back.png").exists()


def half_busy(side: int = 128) -> Image:
    """Flat at the left, noise at the right."""
    image = np.full((side, side), 128, np.uint8)
    image[:, side // 2 :] = np.random.default_rng(0).integers(60, 200, (side, side // 2))
    return image


def test_explain_draws_the_bits_where_the_frame_is_busy(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", half_busy())
    call("compress", "part.png", "part.qarv", "--quality", "70", cwd=tmp_path)

    result = call("explain", "part.qarv", "--out", "bits.png", cwd=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    red, green, blue = read_image(tmp_path / "bits.png").astype(int).transpose(2, 0, 1)
    least = np.argwhere(np.abs([red - 68, green - 1, blue - 84]).max(axis=0) < 12)  # viridis begins so
    much = np.argwhere((green > 120) & (green > blue + 20) & (green > red))  # its upper half, but for the yellow end
    assert len(least) > 20_000
    assert len(much) > 20_000
    assert np.percentile(least[:, 1], 95) < np.percentile(much[:, 1], 5)
    assert "busiest_tenth_share" in result.stdout


def test_explain_draws_and_counts_what_differs_from_the_original(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", half_busy())
    call("compress", "part.png", "part.qarv", cwd=tmp_path)
    call("decompress", "part.qarv", "same.png", cwd=tmp_path)
    changed = read_image(tmp_path / "same.png")
    changed[32:64, 16:48] += 100
    write_png(tmp_path / "changed.png", changed)

    drawn = call("explain", "part.qarv", "--original", "changed.png", "--out", "a.png", "--json", cwd=tmp_path)
    facts = json.loads(drawn.stdout)
    same = json.loads(call("explain", "part.qarv", "--original", "same.png", "--json", cwd=tmp_path).stdout)

    assert (facts["largest_error"], facts["mean_error"]) == (100, 100 / 16)
    assert facts["psnr"] == pytest.approx(10 * np.log10(255**2 / (100**2 / 16)), abs=1e-3)
    assert (same["largest_error"], same["psnr"], same["ms_ssim"]) == (0, None, 1)
    pixels = read_image(tmp_path / "a.png").astype(int)
    most = (np.abs(pixels - (252, 255, 164)).max(axis=2) < 8).sum()  # inferno ends so
    least = (np.abs(pixels - (0, 0, 4)).max(axis=2) < 3).sum()  # and begins so
    assert most / (most + least) == pytest.approx(1 / 16, abs=0.01)


def test_explain_accounts_for_every_byte(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    call("compress", "part.png", "part.qarv", "--quality", "90", cwd=tmp_path)
    facts = json.loads(call("explain", "part.qarv", "--json", cwd=tmp_path).stdout)
    streams = sum(level["bytes"] for level in facts["levels"])
    assert facts["header_bytes"] + streams == facts["bytes"] == (tmp_path / "part.qarv").stat().st_size
    assert facts["symbol_bits"] == pytest.approx(8 * streams, abs=8 * 6)
    assert facts["qualities"] == [90, 90]
    assert facts["psnr"] is None


def test_explain_writes_nothing_where_it_cannot_be_right(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    write_png(tmp_path / "other.png", plate(60, 81))
    write_png(tmp_path / "colour.png", np.zeros((60, 80, 3), np.uint8))
    call("compress", "part.png", "part.qarv", cwd=tmp_path)
    data = (tmp_path / "part.qarv").read_bytes()
    (tmp_path / "cut.qarv").write_bytes(data[:-9])
    before = sorted(tmp_path.iterdir())
    for arguments, words in (
        (("gone.qarv", "--out", "a.png"), ("gone.qarv", "cannot be read")),
        (("part.png", "--out", "a.png"), ("part.png", "is not a .qarv file")),
        (("cut.qarv", "--out", "a.png"), ("cut.qarv", "cut short")),
        (("part.qarv", "--out", "a.jpg"), ("a.jpg", ".png")),
        (("part.qarv", "--out", "part.png"), ("part.png", "--overwrite")),
        (("part.qarv", "--original", "other.png", "--out", "a.png"), ("other.png", "81x60", "80x60", "part.qarv")),
        (("part.qarv", "--original", "colour.png", "--out", "a.png"), ("colour.png", "RGB", "grey")),
        (("part.qarv", "--original", "cut.qarv", "--out", "a.png"), ("cut.qarv", "not an image")),
    ):
        refused(call("explain", *arguments, cwd=tmp_path), *words)
    assert sorted(tmp_path.iterdir()) == before
    assert call("explain", "part.qarv", "--out", "part.png", "--overwrite", cwd=tmp_path).returncode == 0
    assert read_image(tmp_path / "part.png").ndim == 3


def test_help_teaches_every_command(tmp_path: Path) -> None:
    for command in ("bench", "compress", "decompress", "explain", "info", "pilot", "run", "train"):
        result = call(command, "--help", cwd=tmp_path)
        assert result.returncode == 0
        assert "xample" in result.stdout, command


def test_a_budget_is_kept_and_used(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate(120, 160))
    assert call("compress", "part.png", "part.qarv", "--max-bytes", "700", cwd=tmp_path).returncode == 0
    assert 679 <= (tmp_path / "part.qarv").stat().st_size <= 700
    assert call("compress", "part.png", "bpp.qarv", "--bpp", "0.5", cwd=tmp_path).returncode == 0
    assert 1164 <= (tmp_path / "bpp.qarv").stat().st_size <= 1200


def test_a_fidelity_is_reached(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate(200, 200))
    assert call("compress", "part.png", "a.qarv", "--min-psnr", "41", cwd=tmp_path).returncode == 0
    assert call("decompress", "a.qarv", "a.png", cwd=tmp_path).returncode == 0
    assert 41 <= psnr(plate(200, 200), read_image(tmp_path / "a.png")) < 41.5
    assert call("compress", "part.png", "b.qarv", "--min-ms-ssim", "0.98", cwd=tmp_path).returncode == 0
    assert call("decompress", "b.qarv", "b.png", cwd=tmp_path).returncode == 0
    assert 0.98 <= ms_ssim(plate(200, 200), read_image(tmp_path / "b.png")) < 0.985


def test_what_cannot_be_had_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    for options, words in [
        (("--max-bytes", "10"), ("part.png", "10 bytes is impossible", "smallest")),
        (("--min-psnr", "90"), ("part.png", "min_psnr 90", "impossible", "most")),
        (("--max-bytes", "900", "--quality", "50"), ("exactly one", "quality", "max_bytes")),
        (("--bpp", "-1"), ("bpp -1", "more than 0")),
        (("--min-ms-ssim", "1"), ("min_ms_ssim 1", "less than 1")),
        (("--codec", "jpeg", "--bpp", "1"), ("jpeg", "quality only")),
    ]:
        refused(call("compress", "part.png", "out.qarv", *options, cwd=tmp_path), *words)
        assert not (tmp_path / "out.qarv").exists()


def test_a_priority_region_keeps_more(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = np.clip(rng.normal(120, 12, (256, 256)), 0, 255).astype(np.uint8)
    mask = np.zeros((256, 256), np.uint8)
    mask[32:96, 160:224] = 255
    write_png(tmp_path / "part.png", frame)
    write_png(tmp_path / "mask.png", mask)
    options = ("--priority", "mask.png", "--background-quality", "20", "--priority-quality", "90")
    assert call("compress", "part.png", "part.qarv", *options, cwd=tmp_path).returncode == 0
    facts = json.loads(call("info", "part.qarv", "--json", cwd=tmp_path).stdout)
    assert (facts["lmbda_map"]["lowest_index"], facts["lmbda_map"]["highest_index"]) == (49, 229)
    assert facts["lmbda_map"]["bytes"] < 12
    call("decompress", "part.qarv", "back.png", cwd=tmp_path)
    back = read_image(tmp_path / "back.png")
    assert psnr(frame[32:96, 160:224], back[32:96, 160:224]) > psnr(frame[128:], back[128:]) + 8
    budget = (tmp_path / "part.qarv").stat().st_size * 4 // 5
    options = (*options, "--max-bytes", str(budget))
    assert call("compress", "part.png", "small.qarv", *options, cwd=tmp_path).returncode == 0
    assert 0.97 * budget <= (tmp_path / "small.qarv").stat().st_size <= budget


def test_a_folder_of_masks_goes_with_a_folder_of_frames(tmp_path: Path) -> None:
    (tmp_path / "frames" / "line 1").mkdir(parents=True)
    (tmp_path / "masks" / "line 1").mkdir(parents=True)
    mask = np.zeros((60, 80), np.uint8)
    mask[:20, :20] = 255
    for name in ("a", "line 1/b", "line 1/c"):
        write_png(tmp_path / "frames" / f"{name}.png", plate())
    for name in ("a", "line 1/b"):
        write_png(tmp_path / "masks" / f"{name}.png", mask)
    result = call("compress", "frames", "packed", "--priority", "masks", cwd=tmp_path)
    refused(result, "masks", "no mask line 1/c.png")
    assert sorted(p.name for p in (tmp_path / "packed").rglob("*.qarv")) == ["a.qarv", "b.qarv"]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((30, 80), 255, np.uint8), ("80x30", "80x60")),
        (np.zeros((60, 80), np.uint8), ("zero all over",)),
        (np.full((60, 80, 3), 255, np.uint8), ("8-bit grey",)),
    ],
)
def test_bad_masks_are_refused(tmp_path: Path, mask: Image, words: tuple[str, ...]) -> None:
    write_png(tmp_path / "part.png", plate())
    write_png(tmp_path / "mask.png", mask)
    refused(call("compress", "part.png", "o.qarv", "--priority", "mask.png", cwd=tmp_path), "part.png", *words)
    assert not (tmp_path / "o.qarv").exists()


def test_priority_takes_two_qualities_and_no_third(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    write_png(tmp_path / "mask.png", np.full((60, 80), 255, np.uint8))
    options = ("--priority", "mask.png")
    refused(call("compress", "part.png", "o.qarv", *options, "--quality", "50", cwd=tmp_path), "exclude each other")
    refused(call("compress", "part.png", "o.qarv", *options, "--priority-quality", "20", cwd=tmp_path), "not above")


def test_previews_of_a_file_that_is_cut(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    call("compress", "part.png", "part.qarv", cwd=tmp_path)
    whole = (tmp_path / "part.qarv").read_bytes()
    ends = [level["preview_bytes"] for level in levels_of(tmp_path)]
    (tmp_path / "cut.qarv").write_bytes(whole[: ends[1]])
    for levels in ("1", "2"):
        for name in ("part", "cut"):
            command = ("decompress", f"{name}.qarv", f"{name}{levels}.png", "--levels", levels)
            assert call(*command, cwd=tmp_path).returncode == 0
        cut, part = (read_image(tmp_path / f"{name}{levels}.png") for name in ("cut", "part"))
        np.testing.assert_array_equal(cut, part)
    refused(call("decompress", "cut.qarv", "o.png", cwd=tmp_path), "cut.qarv", "cut short")
    refused(call("decompress", "cut.qarv", "o.png", "--levels", "3", cwd=tmp_path), "cut.qarv", "inside level 3")
    shown = call("preview", "cut.qarv", "shown.png", cwd=tmp_path)
    assert shown.returncode == 0
    assert f"level 2 of 3, from {ends[1]:,} bytes" in shown.stdout
    assert "not whole yet" in shown.stdout
    np.testing.assert_array_equal(read_image(tmp_path / "shown.png"), read_image(tmp_path / "cut2.png"))
    (tmp_path / "cut.qarv").write_bytes(whole[: ends[0] - 1])
    refused(call("preview", "cut.qarv", "none.png", cwd=tmp_path), "cut.qarv", "cut short")
    assert not (tmp_path / "none.png").exists()


def test_a_growing_file_is_shown_level_by_level(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate(200, 200))
    call("compress", "part.png", "part.qarv", cwd=tmp_path)
    whole = (tmp_path / "part.qarv").read_bytes()
    command = [PROGRAM, "preview", "slow.qarv", "shown.png", "--wait", "30"]
    with (tmp_path / "slow.qarv").open("wb", buffering=0) as slow:
        viewer = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert viewer.stdout is not None
        lines = []
        for start, end in pairwise([0, *(e["preview_bytes"] for e in levels_of(tmp_path)[:2]), len(whole)]):
            slow.write(whole[start:end])
            lines.append(viewer.stdout.readline())
    assert viewer.wait(60) == 0
    assert ["level 1 of 3" in lines[0], "level 2 of 3" in lines[1], "the whole frame" in lines[2]] == [True] * 3
    call("decompress", "part.qarv", "back.png", cwd=tmp_path)
    np.testing.assert_array_equal(read_image(tmp_path / "shown.png"), read_image(tmp_path / "back.png"))


def levels_of(folder: Path) -> list[dict[str, int]]:
    return json.loads(call("info", "part.qarv", "--json", cwd=folder).stdout)["levels"]


def test_verified_files_are_as_without_and_what_fails_is_kept_lossless(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate())
    for name, options in (("quality", ("--quality", "70")), ("budget", ("--max-bytes", "600"))):
        for verify in ((), ("--verify",)):
            target = f"{name}{len(verify)}.qarv"
            assert call("compress", "part.png", target, *options, *verify, cwd=tmp_path).returncode == 0
        assert (tmp_path / f"{name}0.qarv").read_bytes() == (tmp_path / f"{name}1.qarv").read_bytes()
    deep = plate().astype(np.uint16) * 16
    write_png(tmp_path / "deep.png", deep)
    refused(call("compress", "deep.png", "deep.qarv", cwd=tmp_path), "deep.png", "12 bits")
    (tmp_path / "kept").mkdir()
    kept = call("compress", "deep.png", "kept/deep.qarv", "--verify", cwd=tmp_path)
    assert kept.returncode == 0
    assert "kept as png" in kept.stderr
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["deep.png"]
    np.testing.assert_array_equal(read_image(tmp_path / "kept" / "deep.png"), deep)


def spotted(seed: int) -> Image:
    """A plate with a bright spot at rows 96 to 112, columns 32 to 48."""
    frame = plate(160, 160, seed).astype(int)
    frame[96:112, 32:48] += 70
    return frame.clip(0, 255).astype(np.uint8)


def test_a_detector_decides_where_priority_is(tmp_path: Path) -> None:
    for name in ("good", "frames"):
        (tmp_path / name).mkdir()
    for seed in range(15):
        write_png(tmp_path / "good" / f"{seed}.png", plate(160, 160, seed))
    write_png(tmp_path / "frames" / "spot.png", spotted(20))
    options = ("--priority-from", "anomaly", "--good-frames", "good", "--background-quality", "20")
    result = call("compress", "frames", "packed", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    call("decompress", "packed/spot.qarv", "back.png", cwd=tmp_path)
    back = read_image(tmp_path / "back.png")
    spot, far = np.s_[96:112, 32:48], np.s_[:48, 96:]
    assert psnr(spotted(20)[spot], back[spot]) > psnr(spotted(20)[far], back[far]) + 5
    options = ("--priority-from", "classifier", "--good-frames", "good")
    refused(call("compress", "frames", "o", *options, cwd=tmp_path), "heatmap")
    refused(call("compress", "frames", "o", "--priority-from", "anomaly", cwd=tmp_path), "--good-frames")
