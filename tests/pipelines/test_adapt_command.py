"""`adapt` as a user runs it: small weights, small frames, seconds of training, and the files that it leaves."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from inspect_compress import read_image, write_png
from inspect_compress.cli import main
from inspect_compress.images import Image
from inspect_compress.models.registry import examine
from inspect_compress.qarv.weights import FOLDER, default_fingerprint, read_weights
from inspect_compress.training.adapt import reference_frames
from inspect_compress.training.base import load_base
from inspect_compress.training.tiles import TILE, cut_tiles, divided
from pipelines.adapt_command import frames_of

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `inspect-compress` in this process, in an empty folder: status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["inspect-compress", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


def plate(seed: int, side: int = 64) -> Image:
    grain = np.random.default_rng(seed).normal(128, 4, (side, side)).cumsum(axis=1) / 20 + 100
    return grain.clip(0, 255).astype(np.uint8)


ADAPT = ("adapt", "frames", "--minutes", "0.02", "--out", "adapted")


def write_plates(folder: Path, count: int, first: int = 0) -> None:
    for seed in range(first, first + count):
        write_png(folder / f"{seed}.png", plate(seed))


def test_it_ends_with_weights_for_the_registry_and_says_what_was_gained_and_forgotten(
    command: Command, tmp_path: Path
) -> None:
    write_plates(tmp_path / "frames", 10)
    write_plates(tmp_path / "old", 8, first=100)

    status, printed, errors = command(*ADAPT, "--old", "old", "--json")

    assert status == 0, errors
    report = json.loads(printed)
    (weights,) = (tmp_path / "adapted").glob("qarv-*.safetensors")
    assert weights.name == f"qarv-{report['adapted']}.safetensors"
    assert report["base"] == default_fingerprint()
    examine(weights, weights.with_suffix(".md"), by="test", at=datetime.now(UTC))
    for frames, count in ((report["new"], 2), (report["old"], 1)):
        assert frames["bd_rate"] is not None
        assert frames["frames"] == count
        assert len(frames["base"]) == len(frames["adapted"]) == 6
    assert "Mean over 2 held-out images" in weights.with_suffix(".md").read_text()
    text = (tmp_path / "adapted" / "report.md").read_text()
    assert f"{report['new']['bd_rate']:+.1f} %" in text
    assert f"pilot DATASET --model {report['adapted']}" in text
    assert "pass --resume" in command(*ADAPT)[2]


@pytest.mark.slow
def test_a_killed_adaptation_goes_on(command: Command, tmp_path: Path) -> None:
    write_plates(tmp_path / "frames", 10)
    program = [str(Path(sys.executable).with_name("inspect-compress")), *ADAPT, "--minutes", "3"]
    process = subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "adapted" / "run" / "checkpoint.safetensors"
    deadline = time.monotonic() + 800
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    process.kill()
    process.wait()
    assert checkpoint.exists()

    status, printed, errors = command(*ADAPT, "--resume")

    assert status == 0, errors
    (weights,) = (tmp_path / "adapted").glob("qarv-*.safetensors")
    assert weights.name in printed


def test_frames_of_the_test_split_stay_unseen(tmp_path: Path) -> None:
    rows = [
        (f"{split}-{number}.png", "pit" if split == "test" and number < 5 else "", split)
        for split in ("train", "calibration", "test")
        for number in range(10)
    ]
    for seed, (name, *_) in enumerate(rows):
        write_png(tmp_path / name, plate(seed))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "defect", "split"), *rows])

    frames = frames_of(tmp_path)

    assert sorted(path.name for path in frames.train) == [f"train-{number}.png" for number in range(10)]
    assert {path.name.split("-")[0] for path in frames.held_out} == {"calibration"}


def test_of_a_plain_folder_a_fifth_is_held_out_and_large_frames_are_cut(tmp_path: Path) -> None:
    for seed in range(10):
        write_png(tmp_path / "plates" / f"{seed}.png", plate(seed, side=TILE + 32))
    frames = divided("plates", sorted((tmp_path / "plates").iterdir()))
    assert (len(frames.train), len(frames.held_out)) == (8, 2)
    assert not set(frames.train) & set(frames.held_out)

    cut_tiles(frames, tmp_path / "tiles")

    tiles = [read_image(path) for path in sorted((tmp_path / "tiles").glob("*.png"))]
    assert [tile.shape for tile in tiles] == [(TILE, TILE)] * 10


def test_mistakes_are_named_before_any_training(command: Command, tmp_path: Path) -> None:
    write_plates(tmp_path / "frames", 7)
    assert "frames: has 7 frames; 8 or more are needed" in command(*ADAPT)[2]
    assert "neither 'qarv' nor a weight file" in command(*ADAPT, "--base", "none")[2]
    exact = str(FOLDER / f"qarv-{default_fingerprint()}.safetensors")
    assert "is an exported weight file" in command(*ADAPT, "--base", exact)[2]
    assert "holds no adaptation to go on with" in command(*ADAPT, "--resume")[2]
    assert not (tmp_path / "adapted").exists()


def test_the_shipped_base_is_what_the_default_was_exported_from() -> None:
    card = (FOLDER / f"qarv-{default_fingerprint()}.md").read_text("utf-8")
    base = load_base("qarv")
    assert f"exported from `{base.weights.stem}`" in card
    assert base.model.fingerprint == default_fingerprint()
    assert read_weights(base.weights).fingerprint == base.weights.stem.removeprefix("qarv-")
    assert len(reference_frames().train) + len(reference_frames().held_out) == 36
