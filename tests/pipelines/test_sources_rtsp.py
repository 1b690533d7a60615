"""RTSP streams, from a server that speaks the protocol over a socket: gaps counted, and connected to again."""

import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.errors import ConfigError, SourceError
from pipelines.config import read_config
from pipelines.frame import Frame
from pipelines.sources import Stall, missed
from pipelines.sources.numbering import Numbering
from pipelines.sources.rtsp import RtspSource
from tests.pipelines.rtsp_server import HEIGHT, RATE, WIDTH, Camera, brightness


class Watched:
    """A stream that is read in a thread, as a line would."""

    def __init__(self, url: str, **settings: object) -> None:
        self.stop = threading.Event()
        self.frames: queue.Queue[Frame] = queue.Queue()
        self.stalls: queue.Queue[Stall] = queue.Queue()
        quick = {"mono": True, "reconnect_seconds": 0.1, "line": "L"} | settings
        self._source = RtspSource(url, on_stall=self.stalls.put, stop=self.stop, **quick)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.stop.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    def take(self, count: int) -> list[Frame]:
        return [self.frames.get(timeout=60) for _ in range(count)]

    def _run(self) -> None:
        for frame in self._source:
            self.frames.put(frame)


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera(lost=lambda number: 30 <= number < 34)
    yield made
    made.close()


def shows(frame: Frame, number: int) -> bool:
    """Whether a frame is the camera's picture of a number; JPEG rounds."""
    return frame.pixels.shape == (HEIGHT, WIDTH) and abs(int(frame.pixels[0, 0]) - brightness(number)) <= 1


def test_frames_are_numbered_and_the_lost_ones_leave_a_gap(camera: Camera) -> None:
    watched = Watched(camera.url)

    frames = watched.take(40)
    watched.end()

    assert [frame.sequence for frame in frames] == [*range(1, 31), *range(35, 45)]
    assert all(shows(frame, frame.sequence - 1) for frame in frames)
    assert len({frame.frame_id for frame in frames}) == 40
    assert frames[0].line == "L"
    assert frames[0].captured_at <= frames[1].captured_at
    assert watched.stalls.empty()


def test_a_server_that_goes_and_comes_back_is_connected_to_again(camera: Camera) -> None:
    watched = Watched(camera.url)
    before = watched.take(5)
    camera.close()
    stall = watched.stalls.get(timeout=60)
    while not watched.frames.empty():
        before.append(watched.frames.get())

    back = Camera(port=camera.port)
    after = watched.take(5)
    watched.end()
    back.close()

    assert f"127.0.0.1:{camera.port}/top" in stall.reason
    assert all(shows(frame, number) for number, frame in enumerate(after))
    assert [frame.sequence - after[0].sequence for frame in after] == [0, 1, 2, 3, 4]
    assert after[0].sequence > before[-1].sequence


def gstreamer(port: int = 0) -> "subprocess.Popen[str]":
    """GStreamer's server; skips the test where it is not installed."""
    python = shutil.which("python3", path="/usr/bin")
    script = Path(__file__).with_name("gstreamer_camera.py")
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None); "
    probe += "assert Gst.ElementFactory.find('jpegenc')"
    if python is None or subprocess.run([python, "-c", probe], capture_output=True).returncode:
        pytest.skip("needs GStreamer's RTSP server: gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good python3-gi")
    return subprocess.Popen([python, script, str(port)], stdout=subprocess.PIPE, text=True)


def test_gstreamers_server_is_understood_and_may_be_killed() -> None:
    server = gstreamer()
    assert server.stdout
    port = int(server.stdout.readline())
    watched = Watched(f"rtsp://127.0.0.1:{port}/top", mono=False)

    before = watched.take(60)
    server.kill()
    server.wait()
    watched.stalls.get(timeout=60)
    while not watched.frames.empty():
        before.append(watched.frames.get())
    back = gstreamer(port)
    after = watched.take(5)
    watched.end()
    back.kill()
    back.wait()

    assert [frame.sequence for frame in before] == list(range(1, len(before) + 1))
    assert {frame.pixels.shape for frame in before + after} == {(48, 64, 3)}
    assert len({frame.frame_id for frame in before + after}) == len(before) + 5
    assert missed(before[-1].sequence, after[0].sequence) > 0


def test_secrets_of_the_url_are_neither_stored_nor_told(camera: Camera) -> None:
    watched = Watched(camera.url)
    (frame,) = watched.take(1)
    camera.close()
    stall = watched.stalls.get(timeout=60)
    watched.end()

    assert "secret" in camera.url
    assert "secret" not in stall.reason + repr(frame.meta)


def test_a_stream_that_is_not_there_keeps_nobody_from_ending() -> None:
    camera = Camera()
    camera.close()
    watched = Watched(camera.url)

    reason = watched.stalls.get(timeout=60).reason
    watched.end()

    assert "no connection" in reason
    assert watched.frames.empty()


@pytest.mark.parametrize("url", ["http://camera/top", "rtsp://", "camera", "rtsp://host:port/x"])
def test_what_is_no_stream_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "line.toml").write_text(f'[source]\nkind = "rtsp"\nurl = "{url}"\n[archive]\nuri = "a"\n')

    with pytest.raises(ConfigError, match=r"\[source\] url: is not the URL of a stream"):
        read_config(tmp_path / "line.toml")
    with pytest.raises(SourceError, match="is not the URL of a stream"):
        RtspSource(url)


@given(
    rate=st.sampled_from([5.0, 25.0, 29.97, 60.0]),
    lost=st.lists(st.integers(0, 40), min_size=1, max_size=40),
    jitter=st.floats(-0.4, 0.4),
)
def test_lost_frames_are_counted_by_their_time_stamps(rate: float, lost: list[int], jitter: float) -> None:
    numbering, frame, numbers = Numbering(), 0, []
    numbering.connected(rate, 100.0)
    for count in [0, *lost]:
        frame += count + 1
        numbers.append(numbering.next((frame + jitter * (frame % 2)) / rate, 101.0 + frame / rate))

    assert [missed(before, now) for before, now in pairwise(numbers)] == lost


def test_a_stream_whose_clock_is_set_has_lost_nothing() -> None:
    numbering = Numbering()
    numbering.connected(RATE, 0.0)

    assert [numbering.next(*times) for times in [(0, 0), (0.04, 0.04), (3600, 0.08), (3600.12, 0.2), (5, 0.24)]] == [
        1,
        2,
        3,
        6,
        7,
    ]


def test_the_time_without_a_connection_counts_as_lost_frames() -> None:
    numbering = Numbering()
    numbering.connected(10.0, 0.0)
    numbering.next(0.0, 0.5)
    numbering.connected(10.0, 2.5)

    assert (numbering.next(0.0, 4.0), numbering.next(0.1, 4.0)) == (21, 22)


def test_without_a_rate_a_connection_lost_counts_as_one_frame() -> None:
    numbering, numbers = Numbering(), []
    for began in (0.0, 60.0):
        numbering.connected(None, began)
        numbers += [numbering.next(0.0, began + 1), numbering.next(9.0, began + 10)]

    assert numbers == [1, 2, 4, 5]
