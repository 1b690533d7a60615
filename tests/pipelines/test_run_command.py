"""`inspect-compress run`, as a user runs it: real files, real processes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspect_compress.codecs import load_codec
from inspect_compress.images import write_png
from pipelines.archive import Archive

CLI = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]


def surface(number: int, *, defective: bool = False) -> np.ndarray:
    """A bright, slightly noisy surface; a defect is a dark scratch."""
    image = np.random.default_rng(number).normal(170, 4, (48, 64)).clip(0, 255).astype(np.uint8)
    if defective:
        image[20:30, 5:60] = 20
    return image


def line(folder: Path, *, codec: str = "jpeg", quality: int = 80, detect: str = "", archive: str = "archive") -> Path:
    config = folder / "line.toml"
    config.write_text(
        '[source]\nkind = "folder"\npath = "frames"\nline = "L1"\n'
        f'[compress]\ncodec = "{codec}"\nquality = {quality}\n[archive]\nuri = "{archive}"\n{detect}'
    )
    return config


def frames(folder: Path, count: int) -> None:
    for number in range(count):
        write_png(folder / "frames" / f"{number:03}.png", surface(number, defective=number == 1))


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CLI, "run", *map(str, arguments)], capture_output=True, text=True, encoding="utf-8", timeout=300
    )


def run_json(config: Path) -> dict[str, Any]:
    done = run(config, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_frames_are_stored_once_and_the_second_run_says_so(tmp_path: Path) -> None:
    frames(tmp_path, 3)
    config = line(tmp_path)

    first = run_json(config)
    second = run(config)

    assert first["frames"] == {"captured": 3, "stored": 3, "already_stored": 0, "failed": 0}
    archived = list(Archive(tmp_path / "archive", create=False).frames())
    files = sum(path.stat().st_size for path in (tmp_path / "frames").iterdir())
    stored = sum(len(record.payload) for record in archived)
    assert first["bytes"] == {"source_files": files, "raw": 3 * 48 * 64, "stored": stored}
    assert first["mean_psnr"] == pytest.approx(np.mean([record.psnr for record in archived]))
    assert first["detections"] == first["failures"] == []
    assert first["archive"] == str(tmp_path / "archive")
    assert {record.line for record in archived} == {"L1"}
    assert second.returncode == 0
    assert "3 captured, 0 stored, 3 already stored, 0 failed" in second.stdout
    assert len(Archive(tmp_path / "archive")) == 3


def test_a_detector_judges_what_was_read_back(tmp_path: Path) -> None:
    frames(tmp_path, 3)
    rows = ["image,defect"]
    for number in range(80):
        defective = number >= 60
        write_png(tmp_path / "labelled" / f"{number}.png", surface(100 + number, defective=defective))
        rows.append(f"{number}.png,{'scratch' if defective else ''}")
    (tmp_path / "labelled" / "labels.csv").write_text("\n".join(rows))
    config = line(tmp_path, detect='[detect]\ndetector = "anomaly"\ntrain = "labelled"\n')

    detections = run_json(config)["detections"]

    assert [verdict["image"] for verdict in detections] == ["000.png", "001.png", "002.png"]
    assert detections[1]["defective"]
    assert detections[1]["score"] > max(detections[0]["score"], detections[2]["score"])


def test_an_unreadable_frame_is_listed_and_the_rest_is_stored(tmp_path: Path) -> None:
    frames(tmp_path, 2)
    (tmp_path / "frames" / "broken.png").write_bytes(b"no picture")

    done = run(line(tmp_path), "--json")

    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert done.stderr == ""
    assert result["frames"] == {"captured": 2, "stored": 2, "already_stored": 0, "failed": 1}
    assert result["failures"][0]["image"] == "broken.png"
    assert "broken.png" in result["failures"][0]["reason"]


@pytest.mark.parametrize(("codec", "quality"), [("png", 60), ("jxl", 100)])
def test_12_bits_go_through_the_whole_chain_and_nothing_is_lost(tmp_path: Path, codec: str, quality: int) -> None:
    deep = {f"{n:03}.png": surface(n, defective=n == 1).astype(np.uint16) * 16 + n for n in range(3)}
    for name, image in deep.items():
        write_png(tmp_path / "frames" / name, image)
    rows = ["image,defect"]
    for number in range(80):
        defective = number >= 60
        image = surface(100 + number, defective=defective).astype(np.uint16) * 16
        write_png(tmp_path / "labelled" / f"{number}.png", image)
        rows.append(f"{number}.png,{'scratch' if defective else ''}")
    (tmp_path / "labelled" / "labels.csv").write_text("\n".join(rows))
    detect = '[detect]\ndetector = "anomaly"\ntrain = "labelled"\n'

    result = run_json(line(tmp_path, codec=codec, quality=quality, detect=detect))

    assert result["frames"]["stored"] == 3
    assert result["bytes"]["raw"] == 3 * 48 * 64 * 2
    assert result["mean_psnr"] is None
    assert [verdict["defective"] for verdict in result["detections"]][1]
    records = {record.meta["path"]: record for record in Archive(tmp_path / "archive").frames()}
    assert records.keys() == deep.keys()
    for name, image in deep.items():
        record = records[name]
        np.testing.assert_array_equal(load_codec(codec).decode(record.payload), image)
        assert (record.bit_depth, record.channels, record.psnr) == (12, 1, None)
        assert record.pixels_sha256 == hashlib.sha256(image.astype("<u2").tobytes()).hexdigest()


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_run_that_was_killed_is_completed_by_running_again(tmp_path: Path) -> None:
    frames(tmp_path, 200)
    config = line(tmp_path, codec="png")
    log = tmp_path / "archive" / "_delta_log"

    with subprocess.Popen([*CLI, "run", str(config)], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (log / f"{1:020}.json").exists():
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    before = len(Archive(tmp_path / "archive", create=False))
    result = run_json(config)

    assert before in (64, 128, 192)
    assert result["frames"] == {
        "captured": 200,
        "stored": 200 - before,
        "already_stored": before,
        "failed": 0,
    }
    stored = [record.frame_id for record in Archive(tmp_path / "archive").frames()]
    assert len(stored) == len(set(stored)) == 200


def test_two_runs_at_once_store_each_frame_once(tmp_path: Path) -> None:
    frames(tmp_path, 100)
    config = line(tmp_path)

    runs = [subprocess.Popen([*CLI, "run", str(config), "--json"], stdout=subprocess.PIPE) for _ in range(2)]
    results = [json.loads(process.communicate(timeout=300)[0]) for process in runs]

    assert sum(result["frames"]["stored"] for result in results) == 100
    assert len(list(Archive(tmp_path / "archive").frames())) == 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"codec": "jpg"}, "[compress] codec"),
        ({"detect": '[detect]\ndetector = "anomaly"\ntrain = "nowhere"\n'}, "nowhere"),
        ({"archive": "frames"}, "other files"),
    ],
)
def test_a_mistake_is_one_line_and_stores_nothing(tmp_path: Path, change: dict[str, str], says: str) -> None:
    frames(tmp_path, 1)

    done = run(line(tmp_path, **change), "--json")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "line.toml"]
