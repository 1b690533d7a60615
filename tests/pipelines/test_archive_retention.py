"""Frames that are let go: by rule, not while they are held, each on record; and an archive put in order."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from inspect_compress.errors import ArchiveError, ConfigError
from pipelines.archive import Archive, ArchivedFrame, Verdicts
from pipelines.archive.departures import Departures
from pipelines.archive.holds import Hold, Holds
from pipelines.archive.retention import Policy, expire
from pipelines.governance.audit import AuditLog
from tests.pipelines.archive_records import NOON, encoded
from tests.pipelines.test_archive_commands import judged, run

NOW = datetime.now(UTC)


def aged(number: int, days: float, **changes: object) -> ArchivedFrame:
    """A frame captured so many days ago."""
    return encoded(number, captured_at=NOW - timedelta(days=days), **changes)


def stored(uri: Path) -> list[int]:
    return sorted(record.sequence for record in Archive(uri).frames())


def policy_file(folder: Path, text: str) -> Path:
    (folder / "retention.toml").write_text(text)
    return folder / "retention.toml"


RULES = """
[[rule]]
name = "rings for ever"
product = "ring"
keep_days = "forever"

[[rule]]
name = "defective"
verdict = "defective"
keep_days = 3650

[[rule]]
name = "line-1"
line = "line-1"
keep_days = 90
"""


@pytest.fixture
def uri(tmp_path: Path) -> Path:
    """Frames of three ages on two lines; 3 was judged defective, and 4 is a ring."""
    records = [aged(1, 10), *(aged(number, 100) for number in (2, 3)), aged(4, 100, product="ring")]
    records += [aged(5, 100, line="line-2"), aged(6, 4000), aged(7, 4000, line="")]
    Archive(tmp_path / "archive").append(records)
    Verdicts(str(tmp_path / "archive")).append(
        [judged(records[2], defective=True), judged(records[1], defective=False)]
    )
    return tmp_path / "archive"


def test_the_first_rule_that_applies_decides_and_a_frame_of_none_is_kept(uri: Path, tmp_path: Path) -> None:
    policy = policy_file(tmp_path, RULES)

    result = json.loads(run("expire", uri, "--policy", policy, "--json", "--by", "the plant's controller"))

    assert stored(uri) == [1, 3, 4, 5, 7]
    assert result["frames"] == 2
    assert result["by_rule"]["line-1"]["frames"] == 2
    assert {day["frames"] for day in result["by_day"]} == {1}
    assert json.loads(run("verify", uri, "--json"))["sound"]


def test_what_went_is_on_record_with_who_asked_for_it(uri: Path, tmp_path: Path) -> None:
    run("expire", uri, "--policy", policy_file(tmp_path, RULES), "--by", "the plant's controller")

    (departure,) = Departures(str(uri)).of("frame-00002")
    assert (departure.rule, departure.asked_by) == ("line-1", "the plant's controller")
    assert list(Departures(str(uri)).of("frame-00001")) == []
    with pytest.raises(ArchiveError, match=r"frame-00002.*let go.*line-1.*the plant's controller"):
        run("get", uri, "frame-00002", tmp_path / "part.png")
    begun, done = AuditLog(str(uri)).entries()
    assert (begun.action, done.action, done.by) == ("expiry begun", "expiry ended", "the plant's controller")
    assert begun.details["rules"][0] == {"name": "rings for ever", "product": "ring", "keep_days": "forever"}
    assert done.details["frames"] == 2


def test_a_dry_run_says_the_same_and_changes_nothing(uri: Path, tmp_path: Path) -> None:
    policy = policy_file(tmp_path, RULES)
    version = DeltaTable(uri).version()

    dry = json.loads(run("expire", uri, "--policy", policy, "--dry-run", "--json"))

    assert DeltaTable(uri).version() == version
    assert sorted(path.name for path in uri.iterdir() if path.name.startswith("_")) == ["_delta_log", "_verdicts"]
    assert "2 frames" in run("expire", uri, "--policy", policy, "--dry-run")
    assert json.loads(run("expire", uri, "--policy", policy, "--json")) == dry | {"dry_run": False}


def test_a_hold_keeps_what_it_covers_until_it_is_released(uri: Path, tmp_path: Path) -> None:
    options = ["--older-than", 50, "--json"]
    run(
        "hold",
        "add",
        uri,
        "claim-7",
        "--reason",
        "claim 7",
        "--line",
        "line-1",
        "--frame",
        "frame-00002",
        "--by",
        "K",
    )
    run("hold", "add", uri, "all-old", "--reason", "an audit", "--until", (NOW - timedelta(days=1000)).isoformat())

    held = json.loads(run("expire", uri, *options))

    assert (stored(uri), held["held"]) == ([1, 2, 6, 7], {"claim-7": 1, "all-old": 2})
    run("hold", "release", uri, "claim-7", "--reason", "settled")
    run("expire", uri, *options)
    assert stored(uri) == [1, 6, 7]
    actions = [entry.action for entry in AuditLog(str(uri)).entries()]
    assert [action for action in actions if action.startswith("hold")] == [
        "hold placed",
        "hold placed",
        "hold released",
    ]
    assert [json.loads(line)["name"] for line in run("hold", "list", uri, "--json").splitlines()] == ["all-old"]
    assert "an audit" in run("hold", "list", uri)


def test_options_choose_the_frames_of_one_rule(uri: Path) -> None:
    run("expire", uri, "--older-than", 50, "--line", "line-1", "--verdict", "good")

    assert stored(uri) == [1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "rule.*missing"),
        ("[[rule]]\nname = 'a'\nkeep_days = -1", "keep_days: is -1; give a whole number of days"),
        ("[[rule]]\nname = 'a'\nkeep_days = 'long'", "forever"),
        ("[[rule]]\nname = 'a'\nkeep_days = 1\nlines = 'x'", "lines.*known"),
    ],
)
def test_a_mistake_in_the_policy_is_named_and_nothing_goes(
    uri: Path, tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        run("expire", uri, "--policy", policy_file(tmp_path, text))
    assert stored(uri) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("options", [[], ["--older-than", "5", "--policy", "x"], ["--policy", "x", "--line", "y"]])
def test_a_call_that_does_not_say_what_may_go_is_refused(uri: Path, options: list[str]) -> None:
    run("expire", uri, *options, status=2)


def test_a_hold_that_cannot_be_read_stops_everything(uri: Path) -> None:
    run("hold", "add", uri, "claim-7", "--reason", "claim 7", "--line", "none")
    (uri / "_holds" / "claim-7.json").write_text("{")

    with pytest.raises(ArchiveError, match=r"claim-7\.json.*not a hold"):
        run("expire", uri, "--older-than", 1)
    assert stored(uri) == [1, 2, 3, 4, 5, 6, 7]


def test_a_hold_that_is_placed_meanwhile_stops_what_has_not_gone(uri: Path) -> None:
    policy = Policy.model_validate({"rule": [{"name": "all", "keep_days": 0}]})

    def late(rows: Any, what: str, total: int | None) -> Any:
        for row in rows:
            if not Holds(str(uri)).all():
                Holds(str(uri)).add(Hold(name="late", reason="", by="K", at=NOON))
            yield row

    with pytest.raises(ArchiveError, match="holds were changed"):
        expire(Archive(uri), policy, now=NOW, by="K", dry_run=False, track=late)
    assert stored(uri) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden", "x" * 65])
def test_a_hold_has_a_harmless_name(uri: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="no name for a hold"):
        run("hold", "add", uri, name, "--reason", "r")


def test_a_hold_is_not_placed_over_another_and_not_released_twice(uri: Path) -> None:
    run("hold", "add", uri, "claim-7", "--reason", "claim 7")

    with pytest.raises(ArchiveError, match="already"):
        run("hold", "add", uri, "claim-7", "--reason", "another")
    with pytest.raises(ArchiveError, match="there are: claim-7"):
        run("hold", "release", uri, "claim-8", "--reason", "settled")


def test_compaction_changes_no_row_and_gives_the_space_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for number in range(1, 7):
        archive.append([encoded(number, line="o'brien's 1/ä=%" if number % 2 else "")])
        Verdicts(str(tmp_path)).append([judged(encoded(number), defective=False)])
    before = sorted(archive.frames(), key=lambda record: record.frame_id)

    result = json.loads(run("compact", tmp_path, "--json"))

    assert (result["files_before"], result["files_after"], result["deleted"]) == (12, 3, 0)
    assert sorted(Archive(tmp_path).frames(), key=lambda record: record.frame_id) == before
    assert archive.append([encoded(1, line="other")]) == 0
    assert len(list(Verdicts(str(tmp_path)).latest())) == 6
    assert [entry.action for entry in AuditLog(str(tmp_path)).entries()] == ["archive compacted"]


def test_files_that_no_version_needs_any_more_are_deleted(tmp_path: Path) -> None:
    import os

    Archive(tmp_path).append([encoded(1), encoded(2)])
    Archive(tmp_path).remove(row for batch in Archive(tmp_path).scan() for row in batch.slice(0, 1).to_pylist())
    (tmp_path / "date=2026-03-04" / "part-of-a-failed-commit.parquet").write_bytes(b"x")
    old = (NOW - timedelta(days=8)).timestamp()
    for file in tmp_path.glob("date=*/**/*.parquet"):
        os.utime(file, (old, old))

    assert json.loads(run("compact", tmp_path, "--keep-hours", 24, "--json"))["deleted"] >= 1

    assert not list(tmp_path.rglob("part-of-a-failed-commit.parquet"))
    assert stored(tmp_path) == [2]
    run("compact", tmp_path, "--keep-hours", 1, status=2)


def test_rows_are_removed_beside_a_writer(tmp_path: Path) -> None:
    archive, writer = Archive(tmp_path), Archive(tmp_path)
    archive.append(encoded(number) for number in range(1, 6))
    rows = [row for batch in archive.scan() for row in batch.to_pylist() if row["sequence"] < 3]

    assert archive.remove(rows, beforehand=lambda batch: writer.append([encoded(9)]) and None) == 2

    assert stored(tmp_path) == [3, 4, 5, 9]
    assert archive.remove(rows) == 2  # those that are gone already are no error
    assert writer.append([encoded(1)]) == 1
