"""A folder as it fills: every picture once and whole, however it was written, and whatever the share does."""

import os
import queue
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspect_compress.images import write_png
from pipelines.frame import Frame
from pipelines.sources import Failure, FolderSource, Stall
from pipelines.sources.settling import Settling, Signature
from pipelines.sources.waiting import StoppedError, Waiting

LONG = 3600.0
"""Seconds that no test lasts."""


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (12, 16), dtype=np.uint8)


class Following:
    """A source that is followed in a thread, as a line would."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.stop = threading.Event()
        self.failures: queue.Queue[Failure] = queue.Queue()
        self.stalls: queue.Queue[Stall] = queue.Queue()
        self.frames: queue.Queue[Frame] = queue.Queue()
        quick = {"settle_seconds": 0.1, "poll_seconds": 0.02, "patience_seconds": LONG} | settings
        self._source = FolderSource(
            folder,
            follow=True,
            on_failure=self.failures.put,
            on_stall=self.stalls.put,
            stop=self.stop,
            **quick,  # type: ignore[arg-type]
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def next_path(self) -> str:
        return self.frames.get(timeout=60).meta["path"]

    def end(self) -> None:
        self.stop.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        for frame in self._source:
            self.frames.put(frame)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "frames"
    made.mkdir()
    return made


@pytest.fixture
def followed(folder: Path) -> Iterator[Following]:
    following = Following(folder)
    yield following
    following.end()


def test_what_is_there_and_what_comes_is_read_once(folder: Path) -> None:
    write_png(folder / "there.png", picture(1))
    following = Following(folder, line="L")

    first = following.frames.get(timeout=60)
    write_png(folder / "below" / "came.png", picture(2))
    second = following.frames.get(timeout=60)
    write_png(folder / "last.png", picture(3))
    third = following.next_path()
    following.end()

    assert (first.meta["path"], first.line) == ("there.png", "L")
    assert second.meta["path"] == "below/came.png"
    assert np.array_equal(second.pixels, picture(2))
    assert third == "last.png"
    assert following.frames.empty()
    assert following.failures.empty()


def test_the_ids_are_those_of_a_folder_that_is_read_once(folder: Path, followed: Following) -> None:
    write_png(folder / "a.png", picture(1))

    assert followed.frames.get(timeout=60).frame_id == next(iter(FolderSource(folder))).frame_id


def test_unfinished_names_are_left_alone_until_they_are_renamed(folder: Path, followed: Following) -> None:
    write_png(folder / "ready.png", picture(1))
    data = (folder / "ready.png").read_bytes()
    for name in ("a.png.part", "b.png.tmp", ".c.png"):
        (folder / name).write_bytes(data)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "d.png").write_bytes(data)
    assert followed.next_path() == "ready.png"

    (folder / "a.png.part").rename(folder / "a.png")

    assert followed.next_path() == "a.png"
    assert followed.frames.empty()


def test_a_half_written_file_is_waited_for(folder: Path, followed: Following) -> None:
    write_png(folder / "whole.png", picture(1))
    data = (folder / "whole.png").read_bytes()
    with (folder / "slow.png").open("wb") as file:
        file.write(data[:100])
        file.flush()
        assert followed.next_path() == "whole.png"
        write_png(folder / "later.png", picture(2))
        assert followed.next_path() == "later.png"
        file.write(data[100:])

    assert followed.next_path() == "slow.png"
    assert followed.failures.empty()


def test_what_stays_unreadable_is_reported_once_and_read_when_it_changes(folder: Path) -> None:
    following = Following(folder, patience_seconds=0.2)
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "empty.png").touch()

    reported = {following.failures.get(timeout=60).image for _ in range(2)}
    write_png(folder / "good.png", picture(1))
    following.next_path()
    write_png(folder / "bad.png", picture(2), overwrite=True)

    assert reported == {"bad.png", "empty.png"}
    assert following.next_path() == "bad.png"
    following.end()
    assert following.failures.empty()


def test_a_file_written_over_is_another_frame(folder: Path, followed: Following) -> None:
    write_png(folder / "latest.png", picture(1))
    first = followed.frames.get(timeout=60)

    write_png(folder / "latest.png", picture(2), overwrite=True)
    second = followed.frames.get(timeout=60)

    assert first.frame_id != second.frame_id
    assert np.array_equal(second.pixels, picture(2))


def test_a_folder_that_vanishes_is_told_once_and_waited_for(folder: Path, followed: Following) -> None:
    write_png(folder / "a.png", picture(1))
    assert followed.next_path() == "a.png"
    away = folder.rename(folder.with_name("away"))

    stall = followed.stalls.get(timeout=60)
    write_png(away / "b.png", picture(2))
    away.rename(folder)

    assert str(folder) in stall.reason
    assert followed.next_path() == "b.png"
    assert followed.frames.empty()
    assert followed.stalls.empty()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_below_that_is_not_for_us_is_listed_once_and_the_rest_is_read(folder: Path) -> None:
    (folder / "private").mkdir(mode=0)
    following = Following(folder)

    write_png(folder / "a.png", picture(1))
    paths = [following.next_path()]
    write_png(folder / "b.png", picture(2))
    paths.append(following.next_path())
    following.end()

    assert paths == ["a.png", "b.png"]
    assert following.failures.get().image == "private"
    assert following.failures.empty()
    assert following.stalls.empty()


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    following = Following(tmp_path / "share")
    assert "share" in following.stalls.get(timeout=60).reason

    write_png(tmp_path / "share" / "a.png", picture(1))

    assert following.next_path() == "a.png"
    following.end()


def test_a_share_that_hangs_is_told_once_and_waited_for(tmp_path: Path) -> None:
    pipe, stalls = tmp_path / "share", queue.Queue[Stall]()
    os.mkfifo(pipe)
    waiting = Waiting(seconds=0.1, on_stall=stalls.put, stop=None)

    def answer() -> None:
        stalls.get(timeout=60)
        time.sleep(0.3)
        pipe.write_bytes(b"back")

    share = threading.Thread(target=answer)
    share.start()

    assert waiting.call(pipe.read_bytes, "share") == b"back"
    share.join()
    assert stalls.empty()


def test_a_share_that_hangs_keeps_nobody_from_ending(tmp_path: Path) -> None:
    pipe, stop = tmp_path / "share", threading.Event()
    os.mkfifo(pipe)
    waiting = Waiting(seconds=0.1, on_stall=lambda stall: stop.set(), stop=stop)

    with pytest.raises(StoppedError):
        waiting.call(pipe.read_bytes, "share")

    pipe.write_bytes(b"")


def test_what_a_call_raises_is_raised(tmp_path: Path) -> None:
    waiting = Waiting(seconds=LONG, on_stall=lambda stall: None, stop=None)

    with pytest.raises(FileNotFoundError):
        waiting.call((tmp_path / "none").read_bytes, "share")


def test_every_picture_comes_once_and_whole_however_it_is_written(folder: Path, followed: Following) -> None:
    """Four writers at once: by renaming, in pieces, in place of another, and whole."""
    rng = random.Random(7)
    pictures = {f"{number:02}.png": picture(number) for number in range(24)}
    made = folder.with_name("made")
    for name, pixels in pictures.items():
        write_png(made / name, pixels)

    def write(names: list[str]) -> None:
        for name in names:
            data = (made / name).read_bytes()
            if rng.random() < 0.4:
                (folder / f"{name}.tmp").write_bytes(data)
                (folder / f"{name}.tmp").rename(folder / name)
                continue
            cuts = sorted(rng.sample(range(1, len(data)), 3))
            with (folder / name).open("wb") as file:
                for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                    file.write(data[start:end])
                    file.flush()
                    time.sleep(rng.random() * 0.05)

    writers = [threading.Thread(target=write, args=(sorted(pictures)[start::4],)) for start in range(4)]
    for writer in writers:
        writer.start()
    frames = [followed.frames.get(timeout=60) for _ in pictures]
    for writer in writers:
        writer.join()

    assert {frame.meta["path"] for frame in frames} == set(pictures)
    assert all(np.array_equal(frame.pixels, pictures[frame.meta["path"]]) for frame in frames)
    assert followed.frames.empty()
    assert followed.failures.empty()


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["write", "finish", "remove", "wait"]),
            st.sampled_from("abc"),
            st.floats(min_value=0.1, max_value=6),
        ),
        max_size=60,
    )
)
def test_a_file_is_ready_once_for_each_way_it_settled(steps: list[tuple[str, str, float]]) -> None:
    """Against a simple model: a file is whole after `finish`, and a reader that finds it unfinished refuses it."""
    book, now = Settling(settle=2, patience=10), 0.0
    disk: dict[str, tuple[Signature, bool, float]] = {}
    read: list[tuple[str, Signature]] = []

    def look() -> None:
        for name, signature in book.ready({name: entry[0] for name, entry in disk.items()}, now):
            on_disk, whole, since = disk[name]
            assert signature == on_disk
            assert now - since >= 2, "read while it was still being written"
            if whole:
                book.taken(name)
                read.append((name, signature))
            else:
                book.refused(name, now)

    for clock, (what, name, seconds) in enumerate([*steps, *[("wait", "a", 6.0)] * 3]):
        if what == "remove":
            disk.pop(name, None)
        elif what in ("write", "finish"):
            disk[name] = (Signature(clock, clock), what == "finish", now)
        look()
        now += seconds
        look()

    assert len(read) == len(set(read)), "read twice"
    assert len(book) == len(disk)
    assert {(name, entry[0]) for name, entry in disk.items() if entry[1]} <= set(read), "never read"
