"""What becomes of a line's frames when it is killed, its disk is full, or its store is away: nothing is lost."""

import random
import sys
from pathlib import Path

import pytest

from inspect_compress.images import write_png
from pipelines.flow.events import Captured, Stored
from pipelines.sources import IteratorSource
from tests.pipelines.line_process import completed, killed_at, noted, picture, rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
KEY = "A" * 43 + "="
FREQUENT = "[flow]\ncommit_seconds = 0.02\n"


def line(folder: Path, more: str = "") -> Path:
    config = folder / "line.toml"
    config.write_text(
        '[source]\nkind = "folder"\npath = "frames"\nline = "L1"\n'
        f'[compress]\ncodec = "png"\nverify = false\n[archive]\nuri = "archive"\n{more}'
    )
    (folder / "frames").mkdir(exist_ok=True)
    return config


def add_frames(folder: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        write_png(folder / "frames" / f"{number:05}.png", picture(number))


def kill_often(config: Path, times: int, *, from_camera: bool, seed: int) -> None:
    """Kill a line at random moments. What it acknowledged is checked before anything could mend it."""
    moments, notes = random.Random(seed), config.parent / "notes"
    for number in range(times):
        if not from_camera:
            add_frames(config.parent, number * 40, 40)
        killed_at(config, notes, moments.uniform(0, 0.15), from_camera=from_camera)
        if number % 10 == 9:
            stored = rows(config) if (config.parent / "archive").exists() else []
            assert len(stored) == len(set(stored))
            assert noted(notes, Stored) <= set(stored)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_camera_line_killed_again_and_again_has_every_captured_frame_once(tmp_path: Path, encrypted: bool) -> None:
    times = 10 if encrypted else 40
    (tmp_path / "keys.toml").write_text(f'current = "k1"\n[keys]\nk1 = "{KEY}"\n')
    (tmp_path / "keys.toml").chmod(0o600)
    config = line(tmp_path, FREQUENT + ('[encryption]\nkeys = "keys.toml"\n' if encrypted else ""))

    kill_often(config, times, from_camera=True, seed=times)
    result = completed(config, IteratorSource([]))

    captured = noted(tmp_path / "notes", Captured)
    stored = rows(config)
    assert len(captured) > times
    assert len(stored) == len(set(stored))
    assert captured <= set(stored)
    assert (result.ledger.captured, result.ledger.stored) == (len(stored), len(stored))
    assert result.ledger.waiting == result.ledger.lost == result.ledger.dropped == 0
    assert [path.name for path in (tmp_path / "archive.state" / "spool").iterdir()] == ["lock"]


def test_a_folder_line_killed_again_and_again_stores_every_file_once(tmp_path: Path) -> None:
    config = line(tmp_path)

    kill_often(config, 50, from_camera=False, seed=50)
    result = completed(config)

    stored = rows(config)
    assert len(stored) == len(set(stored)) == 50 * 40
    assert noted(tmp_path / "notes", Captured) <= set(stored)
    assert (result.captured, result.failed) == (2000, 0)
    balance = result.ledger
    assert (balance.captured, balance.stored, balance.waiting, balance.lost) == (2000, 2000, 0, 0)
