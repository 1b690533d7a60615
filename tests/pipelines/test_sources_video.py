"""Video files: every frame once, in order, with its time; and nothing converted in silence."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest

from inspect_compress.errors import ConfigError, SourceError
from pipelines.config import read_config
from pipelines.sources import Failure, open_source
from pipelines.sources.video import VideoSource

RATE = 10


def grey(number: int) -> np.ndarray:
    return np.full((48, 64), 10 * number, np.uint8)


def film(path: Path, pictures: list[np.ndarray], *, codec: str = "ffv1", pix_fmt: str = "gray") -> Path:
    """A video without loss (with the codec ffv1)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for pixels in pictures:
            given = {2: "gray16le" if pixels.dtype == np.uint16 else "gray", 3: "rgb24"}[pixels.ndim]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format=given).reformat(format=pix_fmt)))
        container.mux(stream.encode())
    return path


def test_frames_come_in_order_with_their_number_and_time(tmp_path: Path) -> None:
    path = film(tmp_path / "shift.mkv", [grey(number) for number in range(5)])
    os.utime(path, (1_700_000_000, 1_700_000_000))

    source = VideoSource(path, line="L", mono=True)
    frames = list(source)

    assert source.__length_hint__() == 5
    assert source.durable
    assert [frame.sequence for frame in frames] == [1, 2, 3, 4, 5]
    assert all(np.array_equal(frame.pixels, grey(frame.sequence - 1)) for frame in frames)
    assert frames[0].captured_at == datetime(2023, 11, 14, 22, 13, 19, 500000, tzinfo=UTC)
    assert frames[3].captured_at - frames[0].captured_at == timedelta(seconds=0.3)
    assert (frames[1].line, frames[1].meta["path"]) == ("L", "shift.mkv#2")


def test_the_ids_are_the_same_wherever_the_file_lies(tmp_path: Path) -> None:
    path = film(tmp_path / "shift.mkv", [grey(3)] * 3)
    (tmp_path / "moved").mkdir()

    ids = [frame.frame_id for frame in VideoSource(path)]
    moved = path.rename(tmp_path / "moved" / path.name)
    os.utime(moved, (1, 1))

    assert [frame.frame_id for frame in VideoSource(moved)] == ids
    assert len(set(ids)) == 3


def test_colour_comes_as_rgb(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200

    (frame,) = VideoSource(film(tmp_path / "red.mkv", [red], pix_fmt="bgr0"))

    assert np.array_equal(frame.pixels, red)


def test_the_start_can_be_given_and_the_end_asked_for(tmp_path: Path) -> None:
    path, stop = film(tmp_path / "a.mkv", [grey(1)] * 3), threading.Event()

    frames = iter(VideoSource(path, started_at=datetime.fromisoformat("2027-01-01T08:00:00+09:00"), stop=stop))
    first = next(frames)
    stop.set()

    assert first.captured_at == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert list(frames) == []


@pytest.mark.parametrize("pix_fmt", ["gray16le", "gray10le", "yuv420p10le"])
def test_more_than_eight_bits_are_refused(tmp_path: Path, pix_fmt: str) -> None:
    path = film(tmp_path / "deep.mkv", [np.full((48, 64), 4000, np.uint16)], pix_fmt=pix_fmt)

    with pytest.raises(SourceError, match=r"deep\.mkv: has more than 8 bits"):
        VideoSource(path)


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")

    for name in ("a.mp4", "missing.mp4", "."):
        with pytest.raises(SourceError, match=name):
            VideoSource(tmp_path / name)


def test_a_video_cut_short_gives_what_it_has_and_is_reported(tmp_path: Path) -> None:
    noise = [np.random.default_rng(number).integers(0, 256, (48, 64), dtype=np.uint8) for number in range(20)]
    whole = film(tmp_path / "whole.avi", noise, codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    index = whole.rindex(b"idx1")
    (tmp_path / "cut.avi").write_bytes(whole[: index // 2])
    failures: list[Failure] = []

    frames = list(VideoSource(tmp_path / "cut.avi", on_failure=failures.append))

    assert 5 <= len(frames) <= 12
    assert f"frame {len(frames)} of 20" in str(failures[0].error)
    assert failures[0].image == "cut.avi"


def test_a_video_is_a_kind_of_source(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", [grey(7)])
    text = '[source]\nkind = "video"\npath = "a.mkv"\nmono = true\nstarted_at = 2027-01-01T08:00:00{}\n'
    config = tmp_path / "line.toml"
    config.write_text(text.format("Z") + '[archive]\nuri = "archive"\n')

    (frame,) = open_source(read_config(config).source)

    assert frame.captured_at == datetime(2027, 1, 1, 8, tzinfo=UTC)
    config.write_text(text.format("") + '[archive]\nuri = "archive"\n')
    with pytest.raises(ConfigError, match=r"\[source\] started_at: .*timezone"):
        read_config(config)
