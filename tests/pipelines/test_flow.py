"""The flow: what happens when more frames come than can be compressed, and when a stage or a source fails."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from inspect_compress.errors import InspectCompressError
from inspect_compress.images import write_png
from pipelines.archive import Archive, ArchivedFrame, Verdicts
from pipelines.config import read_config
from pipelines.flow.events import (
    Alarm,
    Captured,
    Degraded,
    Dropped,
    Event,
    Failed,
    Finished,
    Gap,
    Judged,
    Observer,
    Spilled,
    Stalled,
    Started,
    Stored,
    Timed,
)
from pipelines.flow.ledger import FILE_NAME, Ledger, Remark
from pipelines.frame import Frame
from pipelines.runner import LineResult, run_line
from pipelines.sources import IteratorSource
from tests.pipelines.line_process import camera, picture

LONG = 60
"""Seconds that a test waits for what is to come at once, before it gives up."""
Kind = TypeVar("Kind", bound=Event)


class Watcher:
    """Keeps the events of a line, and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait_for(self, kind: type[Event], count: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, LONG)


class SlowStage:
    """Holds the compressing threads until so many frames were captured: observers are called where things happen."""

    def __init__(self, captured: int) -> None:
        self._left = captured
        self._enough = threading.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Captured):
            self._left -= 1
            if self._left <= 0:
                self._enough.set()
        if isinstance(event, Timed) and event.stage == "compress":
            assert self._enough.wait(LONG)


def line(folder: Path, flow: str = "", more: str = "", codec: str = "png", uri: str = "archive") -> Path:
    config = folder / "line.toml"
    config.write_text(
        f'[source]\nkind = "folder"\npath = "frames"\n[compress]\ncodec = "{codec}"\nverify = false\n'
        f'[archive]\nuri = "{uri}"\n{more}[flow]\ncommit_seconds = 0.05\n{flow}'
    )
    return config


def taken(count: int) -> list[Frame]:
    source = camera()
    return [replace(next(source), frame_id=f"{number:03}") for number in range(count)]


def run(config: Path, frames: object, *observers: Observer, durable: bool = False) -> LineResult:
    source = IteratorSource(frames, durable=durable)  # type: ignore[arg-type]
    return run_line(read_config(config), source=source, observers=observers)


def archived(config: Path) -> list[ArchivedFrame]:
    records = Archive(read_config(config).archive.uri, create=False).frames()
    return sorted(records, key=lambda record: record.frame_id)


def remarks(config: Path) -> list[Remark]:
    return Ledger(read_config(config).state / FILE_NAME, create=False).remarks()


def test_frames_beyond_the_queue_wait_in_the_spool_and_are_stored_in_their_order(tmp_path: Path) -> None:
    config, watcher = line(tmp_path, 'queue = 2\nwhen_full = "spill"\n'), Watcher()

    result = run(config, taken(30), SlowStage(30), watcher)

    assert [event.frame_id for event in watcher.of(Stored)] == [f"{number:03}" for number in range(30)]
    assert len(watcher.of(Spilled)) >= 20
    assert (result.ledger.stored, result.ledger.waiting, result.ledger.degraded) == (30, 0, 0)
    assert list((tmp_path / "archive.state" / "spool").rglob("*.frame")) == []


def test_frames_beyond_the_queue_are_degraded_and_each_is_on_record(tmp_path: Path) -> None:
    settings = 'queue = 2\nwhen_full = "degrade"\ndegrade_to = 11\ndegrade_codec = "webp"\n'
    config, watcher = line(tmp_path, settings, codec="jpeg"), Watcher()

    result = run(config, taken(30), SlowStage(30), watcher)

    degraded = [record for record in archived(config) if record.codec == "webp"]
    assert len(degraded) >= 20
    assert {(r.quality, r.asked_codec, r.asked_quality) for r in degraded} == {(11, "jpeg", 60)}
    assert {r.fallback for r in degraded} == {"degraded: the queue was full"}
    assert {event.frame_id for event in watcher.of(Degraded)} == {record.frame_id for record in degraded}
    on_record = [remark for remark in remarks(config) if remark.what == "degraded"]
    assert {remark.frame_id for remark in on_record} == {record.frame_id for record in degraded}
    assert result.ledger.degraded == len(degraded)
    again = run(config, taken(30))
    assert (again.stored, again.already_stored) == (0, 30)


def test_audited_frames_are_never_degraded(tmp_path: Path) -> None:
    settings = 'queue = 2\nwhen_full = "degrade"\n'
    config = line(tmp_path, settings, more="[policy]\naudit_every = 3\n", codec="jpeg")

    run(config, taken(30), SlowStage(30))

    rules = {record.frame_id: (record.rule, record.quality) for record in archived(config)}
    assert [name for name, rule in rules.items() if rule == ("audit", 100)] == [f"{n:03}" for n in range(2, 30, 3)]
    assert ("default", 30) in rules.values()


def test_a_source_that_can_wait_is_made_to_wait(tmp_path: Path) -> None:
    config, watcher, ahead = line(tmp_path, "queue = 2\n"), Watcher(), []

    def frames() -> Iterator[Frame]:
        for number, frame in enumerate(taken(30)):
            ahead.append(number - len(watcher.of(Timed)))
            yield frame

    result = run(config, frames(), watcher, durable=True)

    assert max(ahead) < 15
    assert result.ledger.stored == 30
    assert watcher.of(Spilled) == []


def test_a_full_spool_holds_the_source_up_and_loses_nothing(tmp_path: Path) -> None:
    config, watcher = line(tmp_path, "queue = 2\nspool_bytes = 4000\n"), Watcher()

    result = run(config, taken(40), watcher)

    assert (result.ledger.stored, result.ledger.dropped) == (40, 0)


def test_what_a_full_spool_cannot_take_before_the_end_is_dropped_with_a_word(tmp_path: Path) -> None:
    config, watcher, stop = line(tmp_path, "spool_bytes = 10\n"), Watcher(), threading.Event()

    def ends(event: Event) -> None:
        if isinstance(event, Alarm):
            stop.set()

    source = IteratorSource(taken(1))
    result = run_line(read_config(config), source=source, observers=[watcher, ends], stop=stop)

    (dropped,) = watcher.of(Dropped)
    assert (dropped.frame_id, dropped.count) == ("000", 1)
    assert [(remark.what, remark.frame_id) for remark in remarks(config)] == [("dropped", "000")]
    assert (result.ledger.captured, result.ledger.dropped, result.interrupted) == (1, 1, True)


def test_a_jump_of_the_sources_numbers_is_a_gap(tmp_path: Path) -> None:
    config, watcher = line(tmp_path), Watcher()
    frames = [replace(frame, sequence=number) for frame, number in zip(taken(4), (1, 2, 7, 1), strict=True)]

    result = run(config, frames, watcher)

    assert watcher.of(Gap) == [Gap(4, 2, 7)]
    assert result.ledger.gaps == 4
    assert [(remark.what, remark.count) for remark in remarks(config)] == [("gap", 4)]


def test_a_row_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    config, watcher = line(tmp_path), Watcher()
    frames = taken(5)
    frames[2] = replace(frames[2], meta={"path": "no character: \ud800"})

    result = run(config, frames, watcher)

    (failed,) = watcher.of(Failed)
    assert (failed.stage, failed.frame_id) == ("commit", "002")
    assert [record.frame_id for record in archived(config)] == ["000", "001", "003", "004"]
    assert (result.failed, result.complete, result.ledger.failed) == (1, False, 1)
    assert len(list((tmp_path / "archive.state" / "spool").rglob("*.failed"))) == 1


def test_a_source_that_stalls_is_told_once_and_the_line_goes_on(tmp_path: Path) -> None:
    config, watcher = line(tmp_path, "stall_after = 0.2\n"), Watcher()

    def frames() -> Iterator[Frame]:
        yield taken(1)[0]
        watcher.wait_for(Stalled)
        yield taken(2)[1]

    result = run(config, frames(), watcher)

    assert result.stored == 2
    assert len(watcher.of(Stalled)) == 1


def test_a_frame_is_stored_although_no_other_follows_it(tmp_path: Path) -> None:
    config, watcher = line(tmp_path), Watcher()

    def frames() -> Iterator[Frame]:
        yield taken(1)[0]
        watcher.wait_for(Stored)

    assert run(config, frames(), watcher).stored == 1


def test_an_observer_that_fails_holds_up_nothing(tmp_path: Path) -> None:
    watcher = Watcher()

    def fails(event: Event) -> None:
        raise RuntimeError("no room for events")

    assert run(line(tmp_path), taken(3), fails, watcher).stored == 3
    assert isinstance(watcher.events[0], Started)
    assert watcher.events[-1] == Finished(3, 3, 0, 0, 0, 0, 0)


def test_a_source_that_breaks_ends_the_run_and_what_it_gave_is_kept(tmp_path: Path) -> None:
    config = line(tmp_path)

    def frames() -> Iterator[Frame]:
        yield from taken(5)
        raise OSError("the camera is gone")

    with pytest.raises(InspectCompressError, match="capture: OSError: the camera is gone"):
        run(config, frames())

    assert run(config, []).ledger.stored == 5
    assert len(archived(config)) == 5


def test_a_frame_that_vanished_before_it_was_stored_is_called_lost(tmp_path: Path) -> None:
    config = line(tmp_path)
    (frame,) = taken(1)
    (tmp_path / "archive.state").mkdir()
    dead = Ledger(tmp_path / "archive.state" / FILE_NAME, "a dead run")
    dead.captured(frame, "000.png")
    dead.close()
    write_png(tmp_path / "frames" / "other.png", picture(9))

    result = run_line(read_config(config))

    assert (result.ledger.captured, result.ledger.stored, result.ledger.lost) == (2, 1, 1)
    (lost,) = remarks(config)
    assert (lost.what, lost.image) == ("lost", "000.png")


def test_what_a_dead_run_stored_and_did_not_judge_is_judged_by_the_next(tmp_path: Path) -> None:
    config = line(tmp_path)
    run(config, taken(3))
    dead = Ledger(tmp_path / "archive.state" / FILE_NAME, "a dead run")
    for record in archived(config):
        dead.already_stored(record.key, f"{record.frame_id}.png", check=True)
    dead.close()
    labelled = ["image,defect"]
    for number in range(80):
        write_png(tmp_path / "labelled" / f"{number}.png", picture(number))
        labelled.append(f"{number}.png,{'scratch' if number >= 60 else ''}")
    (tmp_path / "labelled" / "labels.csv").write_text("\n".join(labelled))
    line(tmp_path, more='[detect]\ndetector = "anomaly"\ntrain = "labelled"\n')
    watcher = Watcher()

    result = run(config, [], watcher)

    assert sorted(event.frame_id for event in watcher.of(Judged)) == ["000", "001", "002"]
    assert sorted(verdict.frame_id for verdict in Verdicts(result.archive).latest()) == ["000", "001", "002"]
