"""The folder source: every readable image once, with an id that depends on nothing but the picture."""

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from inspect_compress.errors import ConfigError, ImageError
from inspect_compress.images import write_png
from pipelines.sources import Failure, FolderSource, load_source, missed

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def test_frames_come_in_the_order_of_their_paths_with_their_origin(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.png", "a/1.png"):
        write_png(tmp_path / name, GREY)
    os.utime(tmp_path / "b.png", (1_700_000_000, 1_700_000_000))

    frames = list(FolderSource(tmp_path, line="L", station="S", product="P", camera="C"))

    assert [frame.meta["path"] for frame in frames] == ["a/1.png", "a/2.png", "b.png"]
    last = frames[-1]
    assert (last.line, last.station, last.product, last.camera) == ("L", "S", "P", "C")
    assert last.captured_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert last.meta["file_bytes"] == str((tmp_path / "b.png").stat().st_size)
    assert np.array_equal(last.pixels, GREY)


def test_the_id_depends_on_the_path_and_the_pixels_alone(tmp_path: Path) -> None:
    write_png(tmp_path / "one" / "a.png", GREY)
    PillowImage.fromarray(GREY).save(tmp_path / "one" / "a.png", compress_level=0)
    os.utime(tmp_path / "one" / "a.png", (1, 1))
    write_png(tmp_path / "two" / "a.png", GREY)
    write_png(tmp_path / "two" / "b.png", GREY)
    write_png(tmp_path / "two" / "c.png", GREY.reshape(8, 6))

    (first,), others = FolderSource(tmp_path / "one"), list(FolderSource(tmp_path / "two"))

    assert first.frame_id == others[0].frame_id
    assert len({frame.frame_id for frame in others}) == 3
    assert len(first.frame_id) == 20


def test_an_unreadable_file_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    write_png(tmp_path / "good.png", GREY)
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "empty.png").touch()
    failures: list[Failure] = []

    source = FolderSource(tmp_path, on_failure=failures.append)

    assert [frame.meta["path"] for frame in source] == ["good.png"]
    assert [failure.image for failure in failures] == ["bad.png", "empty.png"]
    assert len(source) == 3


def test_an_unreadable_file_stops_who_does_not_take_care_of_it(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not a picture")

    with pytest.raises(ImageError, match=r"bad\.png"):
        list(FolderSource(tmp_path))


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_images_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ImageError, match=name):
        FolderSource(tmp_path / name)


def test_a_number_in_the_name_is_the_frames_where_it_is_asked_for(tmp_path: Path) -> None:
    for name in ("cam2_9.png", "cam2_10.png", "cam2_12.png", "first.png"):
        write_png(tmp_path / name, GREY)

    numbered = [(frame.meta["path"], frame.sequence) for frame in FolderSource(tmp_path, numbered=True)]

    assert numbered == [("first.png", 0), ("cam2_9.png", 9), ("cam2_10.png", 10), ("cam2_12.png", 12)]
    assert {frame.sequence for frame in FolderSource(tmp_path)} == {0}


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", ".a.png", ".trash/b.png"):
        write_png(tmp_path / name, GREY)

    assert [frame.meta["path"] for frame in FolderSource(tmp_path)] == ["a.png"]


def test_a_file_too_large_to_be_a_picture_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(ImageError, match=r"huge\.png: has 1099511627776 bytes"):
        list(FolderSource(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_reported(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", GREY)
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xff.png")
    failures: list[Failure] = []

    assert list(FolderSource(tmp_path, on_failure=failures.append)) == []
    assert failures[0].image == "\\udcff.png"
    assert "rename it" in str(failures[0].error)


def test_a_source_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, GREY)
    stop = threading.Event()

    frames = iter(FolderSource(tmp_path, stop=stop))
    next(frames)
    stop.set()

    assert list(frames) == []


@pytest.mark.parametrize(("before", "now", "lost"), [(1, 2, 0), (1, 5, 3), (0, 5, 0), (5, 0, 0), (9, 1, 0)])
def test_a_jump_of_the_number_counts_the_lost_frames(before: int, now: int, lost: int) -> None:
    assert missed(before, now) == lost


def test_an_unknown_source_answers_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="folder"):
        load_source("camera-of-tomorrow")
