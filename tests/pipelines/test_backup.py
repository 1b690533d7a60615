"""deploy/inspect-compress-backup: copies of an archive that is being written to, cut off, restored."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from inspect_compress.images import write_png
from pipelines.archive import Archive, Verdicts, check_row
from pipelines.archive_commands import app
from pipelines.config import read_config
from pipelines.runner import run_line

ROOT = Path(__file__).parents[2]
BACKUP = ROOT / "deploy" / "inspect-compress-backup"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("rsync", "sqlite3", "flock"))), reason="rsync, sqlite3 or flock is not installed"
)

WRITER = """
import sqlite3, sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
import numpy as np
from deltalake import DeltaTable
from typer.testing import CliRunner
from inspect_compress.codecs import load_codec
from pipelines.archive import Archive, JudgedFrame, Verdicts
from pipelines.frame import Frame
from pipelines.policy import Request
from pipelines.stages import encode

uri = sys.argv[1]
archive, verdicts, codec = Archive(uri), Verdicts(uri), load_codec("png")
spool = Path(f"{uri}.state/spool")
spool.mkdir(parents=True)
ledger = sqlite3.connect(f"{uri}.state/ledger.sqlite")
ledger.execute("PRAGMA journal_mode=WAL")
ledger.execute("CREATE TABLE frames (frame_id TEXT)")
for number in count():
    now = datetime.now(UTC)
    waiting = spool / f"{number}.frame"
    waiting.write_bytes(b"raw")
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
    record = encode(Request(Frame(pixels, f"f{number}", now, line=f"L{number % 2}"), codec, 60), None)
    archive.commit([record])
    verdicts.append([JudgedFrame(
        frame_id=record.frame_id, codec="png", model="", quality=60, line=record.line, captured_at=now,
        detector="anomaly", score=0.5, threshold=0.4, defective=True, judged_at=now,
    )])
    ledger.execute("INSERT INTO frames VALUES (?)", (record.frame_id,))
    ledger.commit()
    waiting.unlink()
    if number % 7 == 6:
        DeltaTable(uri).create_checkpoint()
        DeltaTable(uri).optimize.compact()
    print(number + 1, flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that commits frames, verdicts and ledger rows, compacts, and prints how many frames there are."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "archive")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.wait()


def committed(writer: "subprocess.Popen[str]", more: int) -> int:
    """How many frames are committed, once there are so many more."""
    assert writer.stdout
    lines = [writer.stdout.readline() for _ in range(more)]
    assert lines[-1], "the writer died"
    return int(lines[-1])


def back_up(folder: Path) -> None:
    subprocess.run([BACKUP, folder / "archive", folder / "backup"], check=True)


def require_sound(archive: Path) -> int:
    """Check every row; return how many there are."""
    rows = DeltaTable(archive).to_pyarrow_table().to_pylist()
    assert [reason for row in rows if (reason := check_row(row, None))] == []
    assert len({row["frame_id"] for row in rows}) == len(rows)
    return len(rows)


def test_a_backup_beside_a_writer_holds_all_that_was_committed_before(
    tmp_path: Path, writer: "subprocess.Popen[str]"
) -> None:
    for _ in range(3):
        count = committed(writer, 8)
        back_up(tmp_path)

        assert require_sound(tmp_path / "backup" / "archive") >= count
        judged = {verdict.frame_id for verdict in Verdicts(str(tmp_path / "backup" / "archive")).latest()}
        assert {f"f{number}" for number in range(count - 1)} <= judged
        with sqlite3.connect(tmp_path / "backup" / "state" / "ledger.sqlite") as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert ledger.execute("SELECT count(*) FROM frames").fetchone()[0] >= count - 1


def test_a_backup_that_is_cut_off_leaves_a_whole_archive(tmp_path: Path, writer: "subprocess.Popen[str]") -> None:
    committed(writer, 10)
    back_up(tmp_path)
    before = require_sound(tmp_path / "backup" / "archive")

    for seed in range(6):
        committed(writer, 4)
        cut = subprocess.Popen([BACKUP, tmp_path / "archive", tmp_path / "backup"], start_new_session=True)
        try:
            cut.wait(random.Random(seed).uniform(0.02, 0.2))
        except subprocess.TimeoutExpired:
            os.killpg(cut.pid, signal.SIGKILL)
            cut.wait()
        now = require_sound(tmp_path / "backup" / "archive")
        assert now >= before
        before = now

    count = committed(writer, 1)
    back_up(tmp_path)
    assert require_sound(tmp_path / "backup" / "archive") >= count


def line_of(folder: Path, names: list[str]) -> Path:
    for name in names:
        pixels = np.random.default_rng(len(name) + ord(name[0])).integers(0, 256, (16, 16)).astype(np.uint8)
        write_png(folder / "frames" / f"{name}.png", pixels)
    (folder / "line.toml").write_text(
        '[source]\nkind = "folder"\npath = "frames"\n[compress]\ncodec = "png"\n[archive]\nuri = "archive"\n'
    )
    return folder / "line.toml"


def test_a_line_goes_on_from_what_was_restored(tmp_path: Path) -> None:
    config = line_of(tmp_path, ["a", "b"])
    run_line(read_config(config))
    back_up(tmp_path)
    line_of(tmp_path, ["c"])
    run_line(read_config(config))

    shutil.rmtree(tmp_path / "archive")
    shutil.rmtree(tmp_path / "archive.state", ignore_errors=True)
    shutil.copytree(tmp_path / "backup" / "archive", tmp_path / "archive")
    shutil.copytree(tmp_path / "backup" / "state", tmp_path / "archive.state")
    restored = require_sound(tmp_path / "archive")
    result = run_line(read_config(config))

    assert restored == 2
    assert (result.stored, result.already_stored, result.failures) == (1, 2, ())
    assert require_sound(tmp_path / "archive") == 3


def test_what_was_expired_leaves_the_backup_and_the_audit_log_stays(tmp_path: Path) -> None:
    run_line(read_config(line_of(tmp_path, ["a", "b"])))
    audit = tmp_path / "archive" / "_audit"
    audit.mkdir(exist_ok=True)
    (audit / "0000009998.json").write_text("{}")
    back_up(tmp_path)

    gone = CliRunner().invoke(app, ["expire", str(tmp_path / "archive"), "--older-than", "0"])
    assert gone.exit_code == 0, gone.output
    DeltaTable(tmp_path / "archive").vacuum(0, dry_run=False, enforce_retention_duration=False)
    (audit / "0000009998.json").unlink()
    back_up(tmp_path)

    copy = tmp_path / "backup" / "archive"
    assert len(Archive(copy, create=False)) == 0
    assert list(copy.glob("date=*/**/*.parquet")) == []
    assert len(DeltaTable(copy / "_expired").to_pyarrow_table()) == 2
    assert (copy / "_audit" / "0000009998.json").exists()


def test_a_folder_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([BACKUP, tmp_path, tmp_path / "backup"], capture_output=True, text=True)

    assert done.returncode == 2
    assert "usage" in done.stderr
