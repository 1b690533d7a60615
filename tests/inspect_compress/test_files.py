"""Folders of long work: they outlive a kill, belong to one piece of work, and leave nothing behind on an error."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inspect_compress.errors import DatasetError, OutputError
from inspect_compress.files import resumable_folder, resumable_name

WORKER = """
import sys, time
from pathlib import Path
from inspect_compress.files import resumable_folder
with resumable_folder(Path(sys.argv[1]), "one key") as work:
    (work / "half").write_text("done")
    print("at work", flush=True)
    time.sleep(600)
"""


def test_it_takes_its_place_when_the_work_is_done_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "out", "key") as work:
        (work / "one").touch()
        assert not (tmp_path / "out").exists()

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]


def test_work_that_was_killed_is_found_again_under_its_key_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    kill_at_work(out)
    assert not out.exists()

    with resumable_folder(out, "one key") as work:
        found = (work / "half").read_text()
    assert found == "done"

    kill_at_work(out, again=True)
    with resumable_folder(out, "another key", overwrite=True) as work:
        assert not (work / "half").exists()


def test_a_second_process_is_refused_while_one_is_at_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start_worker(out) as worker:
        try:
            with pytest.raises(OutputError, match="another process is at work"), resumable_folder(out, "one key"):
                pass
            assert (resumable_name(out) / "half").exists()
        finally:
            worker.kill()


def test_an_interrupt_keeps_the_work_and_an_error_that_users_see_discards_it(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def work_until(end: BaseException) -> None:
        with resumable_folder(out, "key") as work:
            (work / "half").touch()
            raise end

    with pytest.raises(KeyboardInterrupt):
        work_until(KeyboardInterrupt())
    assert (resumable_name(out) / "half").exists()
    with pytest.raises(DatasetError):
        work_until(DatasetError("nothing to be done"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_when_told_to(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()

    with pytest.raises(OutputError, match="exists already"), resumable_folder(tmp_path / "out", "key"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with resumable_folder(tmp_path / "out", "key", overwrite=True) as work:
        (work / "new").touch()

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


def kill_at_work(out: Path, *, again: bool = False) -> None:
    """Leave behind what a process leaves that is killed halfway."""
    if again:
        (out / "half").unlink()
        out.rmdir()
    with start_worker(out) as worker:
        os.kill(worker.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def start_worker(out: Path) -> "subprocess.Popen[str]":
    """A process that has begun to work on `out`."""
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(out)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "at work\n"
    return worker
