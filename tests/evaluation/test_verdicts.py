"""The verdict from end to end, on frames made so that the truth is known, as a user runs the pilot.

Each frame is a machined surface, some with a bright spot, some with chatter: a patch that alternates from pixel
to pixel, as faint as it is regular, which the plant's own detector sees and a coarse JPEG does not keep.
"""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspect_compress import write_png

SIDE = 64
CODECS = """
codecs = ["jpeg"]
detectors = ["plant-finish"]
recall_margin = 0.05
false_alarm_margin = 0.05
"""


def write_surfaces(folder: Path, test: dict[str, int]) -> Path:
    """A dataset with 40 good frames to train on, 60 to calibrate on, and as many test frames as `test` says."""
    rng = np.random.default_rng(7)
    rows = [("train", "")] * 40 + [("calibration", "")] * 60
    rows += [("calibration", "spot"), ("train", "chatter")] * 5
    rows += [("test", kind) for kind, count in test.items() for _ in range(count)]
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "defect", "split"])
        for number, (split, kind) in enumerate(rows):
            write_png(folder / f"{number:03}.png", surface(kind, rng))
            writer.writerow([f"{number:03}.png", kind, split])
    return folder


def surface(kind: str, rng: np.random.Generator) -> np.ndarray:
    image = 110 + np.linspace(-12, 12, SIDE) + rng.normal(0, 8) + rng.normal(0, 1.5, (SIDE, SIDE))
    y, x = rng.integers(12, SIDE - 28, 2)
    if kind == "spot":
        image[y : y + 5, x : x + 5] += rng.uniform(50, 80)
    elif kind == "chatter":
        image[y : y + 16, x : x + 16] += 4 * (1 - 2 * (np.indices((16, 16)).sum(axis=0) % 2))
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def judged(pilot: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a pilot on surfaces and returns its summary."""

    def run(test: dict[str, int], qualities: list[int]) -> dict[str, Any]:
        data = write_surfaces(tmp_path / "data", test)
        (tmp_path / "pilot.toml").write_text(f"{CODECS}qualities = {qualities}\n")
        ran = pilot(data, "--out", tmp_path / "out", "--config", tmp_path / "pilot.toml", "--json")
        assert ran.returncode == 0, ran.stderr
        summary: dict[str, Any] = json.loads(ran.stdout)
        return summary

    return run


def recall_of(summary: dict[str, Any], quality: int | None, defect: str) -> float:
    row = next(k for k in summary["kpis"] if k["quality"] == quality and k["detector"] == "plant-finish")
    return next(c["recall"] for c in row["by_class"] if c["defect"] == defect)


def test_a_class_of_defects_that_compression_destroys_makes_it_unsafe(judged: Callable[..., dict[str, Any]]) -> None:
    summary = judged({"": 60, "spot": 40, "chatter": 40}, [40, 15])

    assert (summary["decision"]["verdict"], summary["decision"]["quality"]) == ("unsafe", 40)
    assert (recall_of(summary, None, "chatter"), recall_of(summary, None, "spot")) == (1.0, 1.0)
    assert recall_of(summary, 40, "chatter") < 0.2
    assert recall_of(summary, 40, "spot") == 1.0


def test_a_quality_that_keeps_the_class_is_found_safe_and_the_next_is_not(
    judged: Callable[..., dict[str, Any]],
) -> None:
    summary = judged({"": 130, "spot": 50, "chatter": 50}, [90, 40])

    assert (summary["decision"]["verdict"], summary["decision"]["quality"]) == ("safe", 90)


def test_no_effect_on_enough_frames_is_safe_down_to_the_smallest_rate(judged: Callable[..., dict[str, Any]]) -> None:
    summary = judged({"": 130, "spot": 100}, [90, 60])

    assert (summary["decision"]["verdict"], summary["decision"]["quality"]) == ("safe", 60)


def test_no_effect_on_few_frames_cannot_be_told_and_says_how_many_more_would(
    judged: Callable[..., dict[str, Any]],
) -> None:
    summary = judged({"": 130, "spot": 20}, [90, 60])

    decision = summary["decision"]
    assert (decision["verdict"], decision["quality"]) == ("inconclusive", 60)
    assert (decision["more_defective_frames"], decision["more_good_frames"]) == (73 - 20, 0)
    assert "53" in decision["sentence"]
