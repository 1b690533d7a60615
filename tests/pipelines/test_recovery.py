"""What becomes of a line's frames when it is killed, its disk is full, or its store is away: nothing is lost."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from inspect_compress.images import write_png
from pipelines.config import read_config
from pipelines.flow.events import Alarm, Captured, Event, Stored
from pipelines.flow.ledger import FILE_NAME, Ledger
from pipelines.frame import Frame
from pipelines.runner import run_line
from pipelines.sources import IteratorSource
from tests.pipelines.line_process import FORKS, camera, completed, killed_at, noted, picture, rows, run_silent
from tests.warm import run_warm

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
CLI = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]
ADDED = 20
"""Files that are added to the folder before each kill."""
KEY = "A" * 43 + "="
ENCRYPTED = '[encryption]\nkeys = "keys.toml"\n'
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
            add_frames(config.parent, number * ADDED, ADDED)
        killed_at(config, notes, moments.uniform(0, 0.15), from_camera=from_camera)
        if number % 10 == 9:
            stored = rows(config) if (config.parent / "archive").exists() else []
            assert len(stored) == len(set(stored))
            assert noted(notes, Stored) <= set(stored)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_camera_line_killed_again_and_again_has_every_captured_frame_once(tmp_path: Path, encrypted: bool) -> None:
    times = 10 if encrypted else 40
    write_key(tmp_path, "k1", KEY)
    config = line(tmp_path, FREQUENT + (ENCRYPTED if encrypted else ""))

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
    assert len(stored) == len(set(stored)) == 50 * ADDED
    assert noted(tmp_path / "notes", Captured) <= set(stored)
    assert (result.captured, result.failed) == (len(stored), 0)
    balance = result.ledger
    assert (balance.captured, balance.stored, balance.waiting, balance.lost) == (len(stored), len(stored), 0, 0)


def write_key(folder: Path, name: str, key: str) -> None:
    """A key file with one key."""
    (folder / "keys.toml").write_text(f'current = "{name}"\n[keys]\n{name} = "{key}"\n')
    (folder / "keys.toml").chmod(0o600)


def left_by_a_killed_camera(folder: Path, more: str = "") -> tuple[Path, list[Path]]:
    """A line whose camera's twenty frames are in the spool and not in the archive, and their files."""
    config, notes = line(folder, f"[flow]\ncommit_seconds = 100\n{more}"), folder / "notes"
    process = FORKS.Process(target=run_silent, args=(config, notes), daemon=True)
    process.start()
    while process.is_alive() and len(noted(notes, Captured)) < 20:
        time.sleep(0.01)
    process.kill()
    process.join()
    return config, sorted((folder / "archive.state" / "spool").rglob("*.frame"))


def test_damaged_spool_files_are_named_and_kept_and_the_rest_is_stored(tmp_path: Path) -> None:
    config, files = left_by_a_killed_camera(tmp_path)
    flipped, cut = files[3], files[7]
    data = bytearray(flipped.read_bytes())
    data[-10] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:50])

    balance = completed(config, IteratorSource([])).ledger

    assert len(rows(config)) == 18
    assert (balance.captured, balance.stored, balance.dropped) == (20, 18, 2)
    assert (balance.waiting, balance.lost) == (0, 0)
    kept = [path.name for path in (tmp_path / "archive.state" / "spool").glob("*.damaged")]
    assert len(kept) == 2
    listed = command("ledger", config)
    assert all(name in listed.stdout for name in kept)


def test_spooled_frames_wait_for_the_key_that_they_were_encrypted_with(tmp_path: Path) -> None:
    write_key(tmp_path, "k1", KEY)
    config, _ = left_by_a_killed_camera(tmp_path, ENCRYPTED)

    write_key(tmp_path, "k2", KEY.replace("A", "B", 1))
    without = completed(config, IteratorSource([])).ledger
    write_key(tmp_path, "k1", KEY)
    again = completed(config, IteratorSource([])).ledger

    assert (without.failed, without.stored, without.dropped) == (20, 0, 0)
    assert (again.failed, again.stored, again.dropped) == (0, 20, 0)
    assert len(rows(config)) == 20


def test_two_lines_write_at_once_and_one_is_killed(tmp_path: Path) -> None:
    config = line(tmp_path, FREQUENT)
    other = threading.Thread(target=killed_at, args=(config, tmp_path / "a", 0.5), kwargs={"from_camera": True})

    other.start()
    killed_at(config, tmp_path / "b", 0.3, from_camera=True)
    other.join()
    balance = completed(config, IteratorSource([])).ledger

    stored = rows(config)
    assert len(stored) == len(set(stored)) == balance.captured == balance.stored
    assert noted(tmp_path / "a", Captured) | noted(tmp_path / "b", Captured) <= set(stored)


def test_the_disk_is_full_in_the_middle_of_a_commit(tmp_path: Path) -> None:
    config = line(tmp_path, FREQUENT)
    full = FORKS.Process(target=run_with_a_disk_that_is_full_for_a_while, args=(config, tmp_path / "told"))

    full.start()
    full.join()

    assert full.exitcode == 0
    told = (tmp_path / "told").read_text()
    assert "it is tried again" in told
    stored = rows(config)
    assert len(stored) == len(set(stored)) == 100


def run_with_a_disk_that_is_full_for_a_while(config: Path, told: Path) -> None:
    """From the first commit on no file can grow beyond a few bytes, until that was told as an alarm."""
    unlimited = resource.RLIM_INFINITY

    def watch(event: Event) -> None:
        if isinstance(event, Captured) and event.frame_id.endswith("-20"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, unlimited))
        if isinstance(event, Alarm):
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
            told.write_text(event.message)

    run_line(read_config(config), source=IteratorSource(islice(camera(), 100)), observers=[watch])


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    place = folder / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_the_archives_disk_is_full_until_somebody_makes_room(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        (disk / "ballast").write_bytes(bytes(3_500_000))
        config = line(tmp_path, '[flow]\ncommit_seconds = 0.02\nstate = "state"\n')
        config.write_text(config.read_text().replace('uri = "archive"', 'uri = "disk/archive"'))
        alarms = []

        def watch(event: Event) -> None:
            if isinstance(event, Alarm):
                alarms.append(event.message)
                (disk / "ballast").unlink(missing_ok=True)

        source = IteratorSource(islice(camera(), 30))
        run_line(read_config(config), source=source, observers=[watch])

        assert "the disk is full" in alarms[0]
        assert len(rows(config)) == 30


def test_the_object_store_is_away_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"ENDPOINT_URL": f"http://{host}:{port}", "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    for name, value in (settings | {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    boto3.client("s3", endpoint_url=settings["ENDPOINT_URL"]).create_bucket(Bucket="plant")
    config = line(tmp_path, "[flow]\nqueue = 4\ncommit_seconds = 0.02\n")
    config.write_text(config.read_text().replace('"archive"', '"s3://plant/archive"'))
    first_stored = threading.Event()
    servers = [server]

    def frames() -> Iterator[Frame]:
        given = camera()
        yield next(given)
        assert first_stored.wait(60)
        server.stop()
        yield from islice(given, 200)
        servers.append(moto.ThreadedMotoServer(ip_address=host, port=port, verbose=False))
        servers[-1].start()
        yield from islice(given, 20)

    def watch(event: Event) -> None:
        if isinstance(event, Stored):
            first_stored.set()

    try:
        result = run_line(read_config(config), source=IteratorSource(frames()), observers=[watch])
        stored = rows(config)
    finally:
        servers[-1].stop()

    assert len(stored) == len(set(stored)) == 221
    assert (result.ledger.stored, result.ledger.waiting, result.ledger.dropped) == (221, 0, 0)
    assert (tmp_path / "line.state" / "ledger.sqlite").exists()


def test_a_line_that_is_asked_to_end_does_so_within_ten_seconds_and_loses_nothing(tmp_path: Path) -> None:
    config = line(tmp_path, "[flow]\ncommit_seconds = 100\n")
    config.write_text(config.read_text().replace("[compress]", "follow = true\nsettle_seconds = 0\n[compress]"))
    add_frames(tmp_path, 0, 50)

    with subprocess.Popen([*CLI, "run", str(config)], stdout=subprocess.PIPE, text=True) as process:
        ledger = tmp_path / "archive.state" / FILE_NAME
        while process.poll() is None and not (ledger.exists() and Ledger(ledger).balance().captured >= 50):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)

    assert process.returncode == 0
    assert "50 captured" in output
    assert len(completed_after(config)) == 50


def completed_after(config: Path) -> set[str]:
    """The rows once a line that follows its folder was run again, without following."""
    config.write_text(config.read_text().replace("follow = true\nsettle_seconds = 0\n", ""))
    assert completed(config).ledger.waiting == 0
    return set(rows(config))


def test_a_cut_parquet_file_is_named(tmp_path: Path) -> None:
    config = line(tmp_path)
    add_frames(tmp_path, 0, 130)
    completed(config)
    files = sorted((tmp_path / "archive").rglob("*.parquet"))
    files[0].write_bytes(files[0].read_bytes()[:-100])

    told = command("run", config)

    assert told.returncode == 1
    assert files[0].name in told.stderr
    assert "Traceback" not in told.stderr


def test_a_cut_parquet_file_does_not_keep_a_camera_from_storing(tmp_path: Path) -> None:
    config = line(tmp_path)
    run_line(read_config(config), source=IteratorSource(islice(camera(), 10)))
    (file,) = (tmp_path / "archive").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-100])
    alarms: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, Alarm):
            alarms.append(event.message)

    result = run_line(read_config(config), source=IteratorSource(islice(camera(), 10)), observers=[watch])

    assert (result.stored, result.failed) == (10, 0)
    assert file.name in alarms[0]
    judged = command("archive", "verify", tmp_path / "archive")
    assert judged.returncode == 1
    assert file.name in judged.stdout + judged.stderr


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return run_warm(*arguments)
