"""What cameras need: the arithmetic by hand, and the command on real files."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.capacity import Cost, Line, plan
from inspect_compress import load_codec, write_png

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_arithmetic_is_that_of_the_back_of_an_envelope() -> None:
    """100 cameras of 5 MP at 10 frames/s: 5,000 MP/s. At 0.125 core seconds a megapixel, 70 % used: 893 cores."""
    cost = Cost("jpeg", 60, encode_seconds=0.1, decode_seconds=0.025, bits_a_pixel=0.5)

    result = plan(Line(megapixels=5, frames_a_second=10, hours_a_day=12), cost, [1, 100])

    one, hundred = result.needs
    assert result.frames_a_second_a_core == pytest.approx(1 / 0.625)
    assert (one.cores, hundred.cores) == (9, 893)
    assert (one.camera_mbit_s, hundred.archive_mbit_s) == pytest.approx((400, 2500))
    assert one.raw_tb_a_year == pytest.approx(50e6 * 3600 * 12 * 365 / 1e12)
    assert one.archive_tb_a_year == pytest.approx(one.raw_tb_a_year * 0.5 / 8)
    assert hundred.archive_tb_a_year == pytest.approx(100 * one.archive_tb_a_year)


def test_bits_are_those_of_the_files_that_are_made(command: Command, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(120, 6, (64, 96)).clip(0, 255).astype(np.uint8)
    write_png(tmp_path / "frames" / "a.png", image)

    ran = command("capacity", tmp_path / "frames", "--codec", "jpeg", "--quality", 80, "--cameras", 3, "--json")

    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    size = 8 * len(load_codec("jpeg").encode(image, quality=80)) / image.size
    assert result["cost"]["bits_a_pixel"] == pytest.approx(size)
    (need,) = result["needs"]
    assert (need["cameras"], need["frames_a_second"], need["camera_mbit_s"]) == (3, 30, 1200)
    assert need["cores"] >= 1
    table = command("capacity", tmp_path / "frames", "--codec", "jpeg", "--cameras", 3).stdout
    assert "No GPU was measured" in table


def test_numbers_of_cameras_that_are_none_are_refused_in_one_line(command: Command) -> None:
    ran = command("capacity", "--cameras", "1,zero")

    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "--cameras 1,zero" in ran.stderr
