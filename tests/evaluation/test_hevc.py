"""HEVC intra as QARV is measured against it. Needs the extra `hevc`."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inspect_compress.errors import ImageError
from inspect_compress.fidelity import psnr

pytest.importorskip("av", reason="PyAV is not installed: pip install inspect-compress[hevc]")

from evaluation.hevc import decode, encode


def test_a_lower_rate_factor_costs_more_and_errs_less() -> None:
    rng = np.random.default_rng(0)
    plate = (np.add.outer(np.arange(75), np.arange(90)) + rng.integers(0, 20, (75, 90))).astype(np.uint8)
    streams = [encode(plate, rate_factor) for rate_factor in (40, 25, 10)]
    assert [len(stream) for stream in streams] == sorted(len(stream) for stream in streams)
    fidelity = [psnr(plate, decode(stream)) for stream in streams]
    assert fidelity == sorted(fidelity)
    assert fidelity[-1] > 45


def test_the_command_prints_the_bd_rate_of_real_frames() -> None:
    frames = Path(__file__).parents[2] / "sample_data" / "images" / "turned"
    command = [sys.executable, "-m", "evaluation.hevc", str(frames), "--limit", "2"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"BD-rate of QARV to HEVC intra: [+-]\d+\.\d %, 2 frames", ran.stdout)


def test_colour_is_refused() -> None:
    with pytest.raises(ImageError, match="colour"):
        encode(np.zeros((32, 32, 3), np.uint8), 20)


def test_more_than_8_bits_are_refused() -> None:
    with pytest.raises(ImageError, match="12 bits"):
        encode(np.full((32, 32), 4095, np.uint16), 20)
