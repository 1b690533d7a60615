"""The ledger: every frame once, whatever happens to it, and sums that stay right over years."""

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from inspect_compress.errors import LedgerError
from pipelines.archive import FrameKey
from pipelines.flow.ledger import FILE_NAME, Balance, Ledger
from pipelines.frame import Frame
from tests.warm import run_warm

CLI = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]


def frame(name: str) -> Frame:
    return Frame(np.zeros((2, 2), np.uint8), name, datetime(2026, 1, 2, tzinfo=UTC))


def key(name: str) -> FrameKey:
    return FrameKey(name, "png", "", 60)


def balance(**counts: int) -> Balance:
    return Balance(**dict.fromkeys(Balance.__dataclass_fields__, 0) | counts)


def test_each_frame_is_in_one_state(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME, "a")
    for name in ("stored", "failed", "dropped", "waiting", "stored"):
        ledger.captured(frame(name), f"{name}.png")
    ledger.already_stored(key("stored"), "stored.png", check=True)
    ledger.failed("failed", "no encoding passed")
    ledger.dropped("dropped", "the spool was full")
    ledger.gap(7, 3, 11)
    ledger.unreadable("x.png", "is no image")
    ledger.unreadable("x.png", "is no image yet")

    assert ledger.balance() == balance(captured=4, stored=1, failed=1, dropped=1, waiting=1, gaps=7, unreadable=1)
    assert {(remark.what, remark.image, remark.count, remark.reason) for remark in ledger.remarks()} == {
        ("failed", "failed.png", 1, "no encoding passed"),
        ("dropped", "dropped.png", 1, "the spool was full"),
        ("gap", "", 7, "the source's number jumped from 3 to 11"),
        ("unreadable", "x.png", 1, "is no image yet"),
    }
    assert [row.key for row in ledger.unchecked(10)] == [key("stored")]
    ledger.checked([key("stored")])
    assert ledger.unchecked(10) == []


def test_old_rows_are_summed_up_and_the_balance_stays(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME, "a")
    for number in range(25):
        ledger.captured(frame(str(number)), "")
        ledger.already_stored(key(str(number)), "", check=False)
    ledger.captured(frame("failed"), "failed.png")
    ledger.failed("failed", "why")
    before = ledger.balance()

    folded = [ledger.fold(time.time() + 1, most=10) for _ in range(4)]

    assert folded == [10, 10, 5, 0]
    assert ledger.balance() == before == balance(captured=26, stored=25, failed=1)
    assert ledger.fold(time.time() - 1) == 0
    assert len(ledger.remarks()) == 1


def test_two_processes_and_several_threads_write_at_once(tmp_path: Path) -> None:
    ledgers = [Ledger(tmp_path / FILE_NAME, owner) for owner in "ab"]

    def write(ledger: Ledger, first: int) -> None:
        for number in range(first, first + 50):
            ledger.captured(frame(str(number)), "")

    threads = [threading.Thread(target=write, args=(ledgers[n % 2], n * 40)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ledgers[0].balance().captured == 170


def test_what_is_no_ledger_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 100)

    with pytest.raises(LedgerError, match=FILE_NAME):
        Ledger(tmp_path / FILE_NAME)
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger(tmp_path / "nowhere" / FILE_NAME, create=False)


def test_the_command_shows_balance_and_remarks_and_fails_where_a_frame_is_lost(tmp_path: Path) -> None:
    config = tmp_path / "line.toml"
    config.write_text('[source]\nkind = "folder"\npath = "frames"\n[archive]\nuri = "archive"\n')
    (tmp_path / "archive.state").mkdir()
    ledger = Ledger(tmp_path / "archive.state" / FILE_NAME, "a dead run")
    for name in ("one", "two"):
        ledger.captured(frame(name), f"{name}.png")
    ledger.dropped("one", "the spool was full")

    sound = command("ledger", config)
    ledger.mark_lost(lambda owner: False)
    lost = command("ledger", config, "--json")

    assert sound.returncode == 0
    assert "2 captured = 0 stored + 0 failed + 1 dropped + 1 waiting + 0 lost" in sound.stdout
    assert "dropped  one.png  the spool was full" in sound.stdout
    shown = json.loads(lost.stdout)
    assert (lost.returncode, shown["balance"]["lost"]) == (1, 1)
    assert [remark["image"] for remark in shown["remarks"]] == ["one.png", "two.png"]


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return run_warm(*arguments)
