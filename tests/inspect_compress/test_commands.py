"""The command line as people and scripts use it: real processes, real files, one clear line for what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from inspect_compress.images import Image, read_image, write_png

PROGRAM = str(Path(sys.executable).with_name("inspect-compress"))


def call(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)


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
    assert call("compress", "part.png", "part.qarv", "--quality", "80", cwd=tmp_path).returncode == 0
    assert call("decompress", "part.qarv", "back.png", cwd=tmp_path).returncode == 0
    assert np.abs(read_image(tmp_path / "back.png").astype(int) - plate()).mean() < 3


def test_info_says_what_the_header_says(tmp_path: Path) -> None:
    write_png(tmp_path / "part.png", plate(31, 47))
    call("compress", "part.png", "part.qarv", "--quality", "100", cwd=tmp_path)
    facts = json.loads(call("info", "part.qarv", "--json", cwd=tmp_path).stdout)
    size = (tmp_path / "part.qarv").stat().st_size
    assert (facts["width"], facts["height"], facts["channels"], facts["bit_depth"]) == (47, 31, 1, 8)
    assert (facts["lmbda"], facts["bytes"]) == (16384, size)
    assert [level["stride"] for level in facts["levels"]] == [32, 16, 8]
    assert size - 46 == sum(level["bytes"] for level in facts["levels"])
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


def test_help_teaches_every_command(tmp_path: Path) -> None:
    for command in ("bench", "compress", "decompress", "info", "pilot", "run", "train"):
        result = call(command, "--help", cwd=tmp_path)
        assert result.returncode == 0
        assert "xample" in result.stdout, command
