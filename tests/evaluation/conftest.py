"""Small labelled datasets as files, and the command line as real processes with a plant's own detectors."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from inspect_compress import write_png
from tests.warm import run_warm

PLANT = Path(__file__).parent / "plant"
SIDE = 64
COMMAND = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]
SETTINGS = """
codecs = ["jpeg", "jxl"]
qualities = [5, 60, 90]
detectors = ["plant-spots", "plant-trained"]
seed = 3
shifts = ["exposure"]
shift_frames = 20
"""


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `inspect-compress` with the given arguments in a process of its own, and prints no PDF."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_warm(*arguments, env=environment())

    return run


@pytest.fixture(scope="session")
def pilot(
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `inspect-compress pilot` with the given arguments in a process of its own."""
    return lambda *arguments: command("pilot", *arguments)


@pytest.fixture(scope="session")
def start_pilot() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts `inspect-compress pilot` with the given arguments and does not wait for its end."""

    def start(*arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*COMMAND, "pilot", *map(str, arguments)],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_interrupts,
        )

    return start


def _hear_interrupts() -> None:
    """A test run in the background of a shell ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def done(
    pilot: Callable[..., subprocess.CompletedProcess[str]], spots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished pilot on `spots`, with all scenarios, a shift and both languages. Do not change it."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "pilot.toml").write_text(SETTINGS)
    ran = pilot(spots, "--out", folder / "out", "--config", folder / "pilot.toml", "--lang", "both")
    assert ran.returncode == 0, ran.stderr
    return folder / "out"


def environment() -> dict[str, str]:
    """With the plant's detectors, wide lines, and no browser."""
    return os.environ | {"PYTHONPATH": str(PLANT), "COLUMNS": "200", "INSPECT_COMPRESS_BROWSER": ""}


@pytest.fixture(scope="session")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a labels.csv: 72 rough surfaces, a third with a bright spot or a dark line, and masks."""
    folder = tmp_path_factory.mktemp("spots")
    _write_dataset(folder, [""] * 48 + ["spot", "line"] * 12)
    return folder


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., None]:
    """Writes a dataset of one's own choice: `write_dataset(folder, defects, splits)`."""
    return _write_dataset


def _write_dataset(folder: Path, defects: Sequence[str], splits: Sequence[str] = ()) -> None:
    """Write a frame for each of `defects` (empty for a good part) with masks and a labels.csv."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(len(defects))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "defect", "mask", *(["split"] if splits else [])])
        for number, defect in enumerate(defects):
            name, mask = f"images/{number:03}.png", f"masks/{number:03}.png" if defect else ""
            image, marked = _frame(defect, rng)
            write_png(folder / name, image)
            if defect:
                write_png(folder / mask, marked)
            writer.writerow([name, defect, mask, *splits[number : number + 1]])


def _frame(defect: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rough surface, `uint8` `(64, 64)`, with a defect of any strength, and the defect's mask."""
    surface = 110 + rng.normal(0, 6, (SIDE, SIDE)) + rng.normal(0, 8) + np.linspace(-10, 10, SIDE)
    mask = np.zeros((SIDE, SIDE), bool)
    y, x = rng.integers(12, SIDE - 12, 2)
    if defect == "line":
        mask[y : y + 2, 6:-6] = True
    elif defect:
        mask[y - 2 : y + 3, x - 2 : x + 3] = True
    surface[mask] += rng.uniform(10, 70)
    return surface.clip(0, 255).astype(np.uint8), (255 * mask).astype(np.uint8)
