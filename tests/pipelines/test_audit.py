"""The audit log: nobody edits it unseen, and several write to it at once."""

import hashlib
import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inspect_compress.errors import AuditError, StoreError
from pipelines.governance.audit import AuditLog
from pipelines.governance.commands import audit
from pipelines.governance.objects import Objects
from tests.pipelines.s3_server import s3_server


@pytest.fixture
def place(tmp_path: Path) -> Path:
    log = AuditLog(str(tmp_path))
    for number in range(1, 5):
        log.append("export", by="ann@plant", details={"frames": number, "部品": [1.5, None, {"to": "claim"}]})
    return tmp_path


def file(place: Path, number: int) -> Path:
    return place / "_audit" / f"{number:010}.json"


def test_what_is_appended_is_what_is_read(place: Path) -> None:
    log = AuditLog(str(place))
    entries = list(log.entries())

    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    assert {(entry.action, entry.by) for entry in entries} == {("export", "ann@plant")}
    assert entries[2].details == {"frames": 3, "部品": [1.5, None, {"to": "claim"}]}
    assert entries[3].head == log.head()
    assert log.verify() == log.verify(log.head()) == []


def test_a_place_without_a_log_is_sound_and_stays_as_it_is(tmp_path: Path) -> None:
    log = AuditLog(str(tmp_path / "nothing"))

    assert (list(log.entries()), log.verify(), log.head()) == ([], [], "")
    assert not (tmp_path / "nothing").exists()


def test_a_change_of_any_byte_is_found(place: Path) -> None:
    for number in (2, 4):
        path = file(place, number)
        sound = path.read_bytes()
        for position in range(len(sound)):
            path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
            assert any(path.name in problem for problem in AuditLog(str(place)).verify()), position
        path.write_bytes(sound)
    assert AuditLog(str(place)).verify() == []


def test_an_entry_that_was_written_anew_with_its_checksum_breaks_the_chain(place: Path) -> None:
    other = place / "other"
    log = AuditLog(str(other))
    for number in range(1, 3):
        log.append("export", by="eve@plant", details={"frames": number})
    file(place, 1).write_bytes(file(other, 1).read_bytes())

    assert [problem.split(":")[0] for problem in AuditLog(str(place)).verify()] == ["_audit/0000000002.json"]


def test_removed_swapped_and_inserted_entries_are_found(place: Path) -> None:
    log = AuditLog(str(place))

    second, third = file(place, 2).read_bytes(), file(place, 3).read_bytes()
    file(place, 2).unlink()
    assert log.verify() == ["_audit/0000000003.json: entry 2 is missing before it"]
    file(place, 2).write_bytes(third)
    file(place, 3).write_bytes(second)
    assert any("says that it is entry 3" in problem for problem in log.verify())
    file(place, 2).write_bytes(second)
    file(place, 3).write_bytes(third)
    file(place, 5).write_bytes(third)
    assert any("0000000005" in problem for problem in log.verify())
    file(place, 5).rename(place / "_audit" / "note.json")
    assert log.verify() == ["_audit/note.json: is no file of the log"]


def test_a_log_cut_off_at_its_end_is_found_by_its_head(place: Path) -> None:
    log = AuditLog(str(place))
    head = log.head()

    file(place, 4).unlink()
    assert log.verify() == []
    assert log.verify(head) == [f"_audit/0000000004.json: is missing; the head {head} was given for it"]
    AuditLog(str(place)).append("export", by="eve@plant", details={})
    assert AuditLog(str(place)).verify() == []
    assert AuditLog(str(place)).verify(head) == [
        f"_audit/0000000004.json: is not the entry that the head {head} stands for"
    ]
    with pytest.raises(AuditError, match="is not the head of an audit log"):
        log.verify("4")


def test_a_damaged_last_entry_does_not_stop_the_log(place: Path) -> None:
    file(place, 4).write_bytes(b"")
    AuditLog(str(place)).append("run", by="ann@plant", details={})

    assert [problem.split(":")[0] for problem in AuditLog(str(place)).verify()] == ["_audit/0000000004.json"]
    with pytest.raises(AuditError, match=r"_audit/0000000004\.json"):
        list(AuditLog(str(place)).entries())


def test_details_that_json_cannot_hold_are_refused(place: Path) -> None:
    log = AuditLog(str(place))

    with pytest.raises(AuditError, match="cannot be written as JSON"):
        log.append("run", by="ann@plant", details={"psnr": float("nan")})
    with pytest.raises(AuditError, match="is larger than"):
        log.append("run", by="ann@plant", details={"text": "x" * 2**20})
    assert log.head().startswith("4:")


def append_ten(place: str, name: str) -> None:
    log = AuditLog(place)
    for number in range(10):
        log.append("run", by=name, details={"number": number})


def test_several_writers_make_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_ten, args=(str(tmp_path), f"writer-{number}")) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    log = AuditLog(str(tmp_path))
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert log.verify() == []
    entries = list(log.entries())
    assert [entry.number for entry in entries] == list(range(1, 31))
    for number in range(3):
        own = [entry.details["number"] for entry in entries if entry.by == f"writer-{number}"]
        assert own == list(range(10))


def test_the_chain_can_be_followed_without_this_package(place: Path) -> None:
    files = sorted((place / "_audit").iterdir())
    for before, after in pairwise(files):
        assert json.loads(after.read_bytes())["previous"] == hashlib.sha256(before.read_bytes()).hexdigest()


def test_the_log_lies_in_an_object_store_as_it_does_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "s3://plant/archive"
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(append_ten, [uri] * 2, ["first", "second"]))
        log = AuditLog(uri)

        assert [entry.number for entry in log.entries()] == list(range(1, 21))
        assert log.verify(log.head()) == []
        Objects(uri).delete("_audit/0000000007.json")
        assert log.verify() == ["_audit/0000000008.json: entry 7 is missing before it"]


def test_a_place_that_cannot_be_reached_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    for place in ("nowhere://archive", str(tmp_path / "file")):
        with pytest.raises(StoreError) as error:
            AuditLog(place).append("run", by="ann@plant", details={})
        assert place in str(error.value)
        assert "\n" not in str(error.value)


def test_the_commands_show_and_check_the_log(place: Path) -> None:
    listed = CliRunner().invoke(audit, ["list", str(place), "--json"]).stdout.splitlines()
    sound = json.loads(CliRunner().invoke(audit, ["verify", str(place), "--json"]).stdout)
    file(place, 4).unlink()
    cut = CliRunner().invoke(audit, ["verify", str(place), "--head", sound["head"]])
    absent = CliRunner().invoke(audit, ["verify", str(place / "elsewhere")])

    assert [json.loads(line)["number"] for line in listed] == [1, 2, 3, 4]
    assert (sound["sound"], sound["problems"], sound["head"][:2]) == (True, [], "4:")
    assert (cut.exit_code, absent.exit_code) == (1, 1)
    assert "_audit/0000000004.json: is missing" in cut.stdout
    assert "there is no audit log here" in str(absent.exception)


def test_the_head_of_each_entry_goes_to_the_log_of_the_process(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        entry = AuditLog(str(place)).append("run ended", by="ann@plant", details={})

    assert caplog.messages == [f"audit log of {place}: run ended is entry {entry.head}"]
