"""The commands behind docs/demands.md and docs/priority.md, on sample frames, as a reader of the docs runs them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.halved import halved_copies
from evaluation.priority import compare
from inspect_compress.images import Image, read_image, write_png

MAIN = "from inspect_compress.cli import main; main()"
SAMPLES = Path(__file__).parents[2] / "sample_data"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=SAMPLES.parent, timeout=600, check=False)


def test_bench_says_how_budgets_and_floors_are_met() -> None:
    printed = run("-c", MAIN, "bench", SAMPLES, "--rate-control", "--limit", 2, "--json")
    assert printed.returncode == 0, printed.stderr
    rows = {row["demand"]: row for row in json.loads(printed.stdout)}
    assert list(rows)[:3] == ["bpp 0.1", "bpp 0.3", "bpp 1"]
    for row in rows.values():
        assert row["frames"] + row["impossible"] == 2
        assert row["times"] > 0.5
    floor = rows["min_psnr 36"]
    assert floor["frames"] == 2
    assert 36 <= floor["least"] <= floor["met"] <= floor["most"] < 36.5
    used = rows["bpp 1"]
    assert used["at_the_end"] == 2 or 0.97 <= used["least"] <= used["most"] <= 1


def test_previews_get_better_and_larger() -> None:
    printed = run("-m", "evaluation.previews", SAMPLES, "--limit", 2)
    assert printed.returncode == 0, printed.stderr
    lines = [line for line in printed.stdout.splitlines() if re.match(r"\| \d", line)]
    assert len(lines) == 3
    for line in lines:
        sizes = [int(size.replace(",", "")) for size in re.findall(r"([\d,]+) bytes", line)]
        fidelity = [float(decibels) for decibels in re.findall(r"([\d.]+) dB", line)]
        assert sizes == sorted(sizes)
        assert fidelity == sorted(fidelity)
    refused = run("-m", "evaluation.previews", "nowhere")
    assert (refused.returncode, refused.stderr.count("error:")) == (1, 1)


def test_priority_is_worth_more_than_2_db_at_equal_size(tmp_path: Path) -> None:
    picture = tmp_path / "priority.png"
    printed = run("-m", "evaluation.priority", SAMPLES / "labels.csv", "--limit", 3, "--picture", picture)
    assert printed.returncode == 0, printed.stderr
    gains = [float(gain) for gain in re.findall(r"\+([\d.]+) dB \|", printed.stdout)]
    assert len(gains) == 2
    assert min(gains) > 2
    assert read_image_of_any_kind(picture).std() > 10
    (tmp_path / "labels.csv").write_text("image,mask,split\na.png,,test\n")
    refused = run("-m", "evaluation.priority", tmp_path / "labels.csv")
    assert refused.returncode == 1
    assert "has a mask" in refused.stderr


def read_image_of_any_kind(path: Path) -> np.ndarray:
    from PIL import Image as PillowImage

    return np.asarray(PillowImage.open(path).convert("L"))


def test_both_files_of_a_pair_keep_the_budget() -> None:
    rng = np.random.default_rng(0)
    frame = np.clip(rng.normal(120, 10, (160, 160)), 0, 255).astype(np.uint8)
    mask: Image = np.zeros((160, 160), np.uint8)
    mask[40:70, 90:120] = 255
    pair = compare(frame, mask, 60)
    assert pair is not None
    assert 0.97 * len(pair.uniform.data) <= len(pair.priority.data) <= len(pair.uniform.data)
    assert pair.inside[1] < pair.inside[0] / 2
    assert pair.outside[1] > pair.outside[0]


@pytest.mark.parametrize("shape", [(10, 14), (7, 5), (1, 1), (6, 8, 3)])
def test_halved_copies_are_means_of_four(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", image)
    with halved_copies([tmp_path / "a.png"]) as (copy,):
        half = read_image(copy)
    assert not copy.exists()
    assert half.shape[:2] == (max(1, shape[0] // 2), max(1, shape[1] // 2))
    if shape[0] % 2 == shape[1] % 2 == 0:
        means = image.astype(float).reshape(shape[0] // 2, 2, shape[1] // 2, 2, -1).mean(axis=(1, 3))
        assert np.abs(half.reshape(means.shape) - means).max() <= 0.5
