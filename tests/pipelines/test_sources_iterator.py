"""Images and frames from Python."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import length_hint

import numpy as np
import pytest

from inspect_compress.errors import ImageError
from pipelines.frame import Frame
from pipelines.sources import Failure, IteratorSource

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def test_images_become_numbered_frames() -> None:
    source = IteratorSource([GREY, GREY.astype(np.uint16)], name="cam", line="L", camera="C")

    frames = list(source)

    assert [frame.sequence for frame in frames] == [1, 2]
    assert (frames[0].line, frames[0].camera, frames[0].meta["path"]) == ("L", "C", "cam#1")
    assert length_hint(source) == 2
    assert not source.durable


def test_a_buffer_that_is_filled_again_changes_no_frame() -> None:
    def camera() -> Iterator[np.ndarray]:
        buffer = np.zeros((6, 8), np.uint8)
        for number in range(3):
            buffer[:] = number
            yield buffer

    assert [frame.pixels[0, 0] for frame in list(IteratorSource(camera()))] == [0, 1, 2]


def test_equal_pictures_are_two_frames_unless_they_are_the_same_again() -> None:
    live = [frame.frame_id for _ in range(2) for frame in IteratorSource([GREY, GREY])]
    again = [frame.frame_id for _ in range(2) for frame in IteratorSource([GREY, GREY], durable=True)]

    assert len(set(live)) == 4
    assert again[:2] == again[2:]
    assert len(set(again)) == 2


def test_a_frame_stays_as_it_is() -> None:
    own = Frame(GREY, "part-1", datetime(2027, 1, 1, tzinfo=UTC), line="own", sequence=7)
    other = Frame(GREY, "part-2", datetime(2027, 1, 1, tzinfo=UTC))

    frames = list(IteratorSource([own, other], line="L", station="S"))

    assert [(f.frame_id, f.line, f.station, f.sequence) for f in frames] == [
        ("part-1", "own", "S", 7),
        ("part-2", "L", "S", 2),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "text",
        GREY.astype(float),
        np.zeros((6, 8, 4), np.uint8),
        Frame(GREY, "", datetime(2027, 1, 1, tzinfo=UTC)),
        Frame(GREY, "a", datetime(2027, 1, 1)),
    ],
)
def test_what_is_no_picture_is_reported_and_the_rest_is_read(wrong: object) -> None:
    failures: list[Failure] = []
    items: list = [wrong, GREY]

    frames = list(IteratorSource(items, name="cam", on_failure=failures.append))

    assert [frame.sequence for frame in frames] == [2]
    assert [failure.image for failure in failures] == ["cam#1"]
    with pytest.raises(ImageError):
        list(IteratorSource(items))


def test_it_ends_when_it_is_asked_to() -> None:
    stop = threading.Event()
    frames = iter(IteratorSource([GREY] * 3, stop=stop))
    next(frames)

    stop.set()

    assert list(frames) == []
