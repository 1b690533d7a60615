"""Small labelled datasets as files, and the command line as real processes with a plant's own detectors."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from inspect_compress import write_png

PLANT = Path(__file__).parent / "plant"
SIDE = 64


@pytest.fixture(scope="session")
def pilot() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `inspect-compress pilot` with the given arguments in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from inspect_compress.cli import main; main()", "pilot"]
        environment = os.environ | {"PYTHONPATH": str(PLANT), "COLUMNS": "200"}
        return subprocess.run(
            [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=600
        )

    return run


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
