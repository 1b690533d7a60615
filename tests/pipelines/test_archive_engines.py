"""`archive verify` and `archive reencode` on each engine: the same result, also where something is damaged."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from inspect_compress import load_codec
from inspect_compress.errors import InspectCompressError
from pipelines.archive import Archive, ArchivedFrame
from pipelines.archive.verification import verify_archive
from pipelines.archive_commands import app
from pipelines.engines import EngineName, LocalEngine, load_engine
from pipelines.frame import Frame
from pipelines.governance.audit import AuditLog
from pipelines.policy import Request
from pipelines.stages import encode

CLI = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]
FRAMES = 90
START = datetime(2027, 3, 4, 23, 59, tzinfo=UTC)


def command(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CLI, "archive", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def reencode(*arguments: object) -> Result:
    """The command within this process."""
    return CliRunner().invoke(app, ["reencode", *map(str, arguments)])


def record(number: int, quality: int = 90, codec: str = "jpeg") -> ArchivedFrame:
    pixels = np.random.default_rng(number).normal(120, 10, (40, 56)).clip(0, 255).astype(np.uint8)
    frame = Frame(pixels, f"frame-{number:03}", START + timedelta(seconds=number), line=f"Linie {number % 2}")
    return encode(Request(frame, load_codec(codec), quality), None)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two lines and two days, several files each."""
    folder = tmp_path_factory.mktemp("sound") / "archive"
    Archive(folder).append(map(record, range(FRAMES)))
    return folder


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """An archive with a row that decodes to other pixels than it says, and a file that is cut short."""
    folder = tmp_path / "damaged"
    archive = Archive(folder)
    archive.commit([replace(record(0), decoded_sha256="0" * 64), *map(record, range(1, 10))])
    before = set(folder.rglob("*.parquet"))
    archive.commit([record(number) for number in range(100, 140, 2)])
    (file,) = set(folder.rglob("*.parquet")) - before
    file.write_bytes(file.read_bytes()[:-2000])
    return folder


def rows(archive: Path) -> list[dict[str, Any]]:
    """All columns of all rows but the time of storing."""
    found = [row for batch in Archive(archive, create=False).scan() for row in batch.to_pylist()]
    return sorted([row | {"stored_at": None} for row in found], key=lambda row: str(row["frame_id"]))


def test_every_engine_finds_the_same_damage(damaged: Path, ray_here: None) -> None:
    engines = [LocalEngine(), LocalEngine(2, alone_seconds=0), load_engine(EngineName.ray)]

    here, in_processes, on_ray = (verify_archive(str(damaged), engine) for engine in engines)

    assert here == in_processes == on_ray
    assert (here.is_sound, here.rows) == (False, 10)
    assert [row.key.frame_id for row in here.unsound] == ["frame-000"]
    (file,) = here.damaged_files
    assert file.path in file.reason
    assert (damaged / file.path).exists()


def test_reencoding_on_ray_makes_the_same_archive_as_the_plain_run_and_leaves_no_process(
    sound: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    options = ("--codec", "jpeg", "--quality", "30", "--json")
    mark = {"INSPECT_COMPRESS_TEST_RUN": str(tmp_path)}

    plain = command("reencode", sound, "--to", tmp_path / "plain", *options)
    ray = command("reencode", sound, "--to", tmp_path / "ray", *options, "--engine", "ray", **mark)

    assert plain.returncode == ray.returncode == 0, plain.stderr + ray.stderr
    assert ray.stderr == plain.stderr == ""
    assert json.loads(plain.stdout) == json.loads(ray.stdout)
    assert rows(tmp_path / "plain") == rows(tmp_path / "ray")
    assert len(rows(tmp_path / "ray")) == FRAMES
    until = time.monotonic() + 30
    while running(mark) and time.monotonic() < until:
        time.sleep(0.1)
    assert running(mark) == {}


@pytest.mark.slow
def test_workers_of_ray_are_killed_one_after_another_and_no_row_goes_unchecked(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    first = record(0)
    Archive(tmp_path / "a").append(replace(first, frame_id=f"frame-{number}") for number in range(2000))
    mark = {"INSPECT_COMPRESS_TEST_RUN": str(tmp_path)}
    killed: set[int] = set()

    with subprocess.Popen(
        [*CLI, "archive", "verify", str(tmp_path / "a"), "--engine", "ray", "--json"],
        env=os.environ | mark,
        stdout=subprocess.PIPE,
        text=True,
    ) as verifying:
        while verifying.poll() is None and len(killed) < 3:
            for process, name in running(mark).items():
                if name.startswith("ray::MapWorker") and process not in killed:
                    os.kill(process, signal.SIGKILL)
                    killed.add(process)
                    break
            time.sleep(0.2)
        result, _ = verifying.communicate(timeout=300)

    assert len(killed) == 3
    assert json.loads(result)["sound"] is True
    assert json.loads(result)["rows"] == 2000


def running(mark: dict[str, str]) -> dict[int, str]:
    """The processes with this environment, and what they call themselves."""
    ((name, value),) = mark.items()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{name}={value}".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text()
        except OSError:
            continue
    return found


def test_a_row_that_was_encoded_again_says_what_it_was_made_from(sound: Path, tmp_path: Path) -> None:
    done = reencode(sound, "--to", tmp_path / "to", "--codec", "jpeg", "--quality", "30")

    assert done.exit_code == 0, done.output
    old = {frame.frame_id: frame for frame in Archive(sound).frames()}
    for frame in Archive(tmp_path / "to").frames():
        before = old[frame.frame_id]
        assert frame.key == (before.frame_id, "jpeg", "", 30)
        assert frame.meta == before.meta | {"reencoded_from": "jpeg quality 90"}
        assert (frame.captured_at, frame.line, frame.rule) == (before.captured_at, before.line, "reencode")
        assert len(frame.payload) < len(before.payload)
    (entry,) = AuditLog(str(tmp_path / "to")).entries()
    assert entry.action == "frames encoded again"
    assert (entry.details["source"], entry.details["frames"]) == (str(sound), FRAMES)


def test_the_encoding_nearest_to_the_original_is_taken(tmp_path: Path) -> None:
    Archive(tmp_path / "from").append([record(1, 20), record(1, 95), record(2, 20), record(2, 100, "png")])

    reencode(tmp_path / "from", "--to", tmp_path / "to", "--codec", "jpeg", "--quality", "50")

    made_from = {frame.frame_id: frame.meta["reencoded_from"] for frame in Archive(tmp_path / "to").frames()}
    assert made_from == {"frame-001": "jpeg quality 95", "frame-002": "png quality 100"}


def test_reencoding_goes_on_where_it_was_and_names_what_is_damaged(damaged: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    options = ("--to", to, "--codec", "jpeg", "--quality", "30", "--json")

    first, again = reencode(damaged, *options), reencode(damaged, *options)

    assert (first.exit_code, again.exit_code) == (1, 1)
    assert json.loads(first.stdout)["frames"] == {"encoded": 9, "already_stored": 0, "fallbacks": 0, "failed": 2}
    assert json.loads(again.stdout)["frames"] == {"encoded": 0, "already_stored": 9, "fallbacks": 0, "failed": 2}
    for failures in (json.loads(first.stdout)["failures"], json.loads(again.stdout)["failures"]):
        assert {failure.get("frame_id") for failure in failures} == {"frame-000", None}
    assert {row["frame_id"] for row in rows(to)} == {f"frame-{number:03}" for number in range(1, 10)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--to", "SELF", "--quality", "30", "--codec", "jpeg"), "is the archive itself"),
        (("--to", "TO", "--quality", "30", "--codec", "jpeg9"), "unknown codec 'jpeg9'"),
        (("--to", "TO", "--quality", "30", "--model", "12345678"), "12345678"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    sound: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    places = {"SELF": str(sound), "TO": str(tmp_path / "to")}

    refused = reencode(sound, *(places.get(option, option) for option in options))

    assert isinstance(refused.exception, InspectCompressError)
    assert words in str(refused.exception)
    assert "\n" not in str(refused.exception)
    assert not (tmp_path / "to").exists()
