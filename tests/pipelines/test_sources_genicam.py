"""GenICam cameras: harvesters and the simulated cameras of the GenICam committee's GenTL producer Viky.

Viky sends grey of 8 bits only. The other pixel formats come as bytes through harvesters' own classes.
"""

import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.errors import ConfigError, ImageError, SourceError
from pipelines.config import read_config
from pipelines.sources import Stall, missed
from pipelines.sources.genicam import COLOUR, MONO, GenicamSource, pixels_of
from pipelines.sources.numbering import BlockNumbers

core = pytest.importorskip("harvesters.core", reason="the extra genicam is not installed")
genicam = pytest.importorskip("genicam")

VIKY = Path(genicam.__file__).with_name("viky.cti")
GREY = {"PixelFormat": "Mono8", "AcquisitionFrameRate": 100.0}
needs_viky = pytest.mark.skipif(not VIKY.is_file(), reason="this release of genicam comes without Viky")


@needs_viky
def test_frames_are_numbered_and_stamped() -> None:
    frames = iter(GenicamSource(VIKY, serial="1", features=GREY, line="L", camera="C"))

    taken = [next(frames) for _ in range(8)]
    frames.close()  # type: ignore[attr-defined]

    assert [frame.sequence for frame in taken] == list(range(1, 9))
    assert {frame.pixels.shape for frame in taken} == {(400, 400)}
    assert {frame.pixels.dtype for frame in taken} == {np.dtype(np.uint8)}
    assert all(len(np.unique(frame.pixels)) > 1 for frame in taken)
    assert len({frame.frame_id for frame in taken}) == 8
    assert [frame.captured_at for frame in taken] == sorted(frame.captured_at for frame in taken)
    assert (taken[0].line, taken[0].camera) == ("L", "C")


@needs_viky
def test_what_nobody_fetched_in_time_is_a_gap() -> None:
    frames = iter(GenicamSource(VIKY, serial="2", features=GREY))

    first = next(frames).sequence
    time.sleep(1)
    numbers = [next(frames).sequence for _ in range(60)]
    frames.close()  # type: ignore[attr-defined]

    gaps = [missed(before, now) for before, now in zip([first, *numbers[:-1]], numbers, strict=True)]
    assert max(gaps) > 10
    assert gaps[-20:] == [0] * 20


@needs_viky
def test_a_camera_that_is_not_there_is_waited_for_until_the_end_is_asked_for() -> None:
    stalls, stop = queue.Queue[Stall](), threading.Event()
    source = GenicamSource(VIKY, serial="77", on_stall=stalls.put, stop=stop)
    reading = threading.Thread(target=lambda: list(source))
    reading.start()

    reason = stalls.get(timeout=60).reason
    stop.set()
    reading.join(timeout=60)

    assert "the camera 77 is not there; it sees 0, 1, 2" in reason
    assert not reading.is_alive()


@needs_viky
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "sees 3 cameras; set serial to one of 0, 1, 2"),
        ({"serial": "1"}, "sends pixels as RGBa8; set its PixelFormat"),
        ({"serial": "1", "features": {"Gain": 3}}, "does not take Gain = 3"),
        (
            {"serial": "1", "features": {"AcquisitionFrameRate": "fast"}},
            "does not take AcquisitionFrameRate = 'fast'",
        ),
    ],
)
def test_what_cannot_be_used_is_an_error(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SourceError, match=says):
        next(iter(GenicamSource(VIKY, **settings)))


def test_what_is_no_producer_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "maker.cti").write_bytes(b"no library")

    with pytest.raises(SourceError, match=r"maker\.cti: is not a GenTL producer"):
        next(iter(GenicamSource(tmp_path / "maker.cti")))
    with pytest.raises(SourceError, match=r"other\.cti: there is no such file"):
        GenicamSource(tmp_path / "other.cti")


def test_a_camera_is_a_kind_of_source(tmp_path: Path) -> None:
    text = '[source]\nkind = "genicam"\ncti = "maker.cti"\nserial = "7"\n[source.features]\nGain = 1.5\n'
    (tmp_path / "line.toml").write_text(text + '[archive]\nuri = "archive"\n')

    source = read_config(tmp_path / "line.toml").source.model_dump()

    assert (source["cti"], source["features"]) == (tmp_path / "maker.cti", {"Gain": 1.5})
    (tmp_path / "line.toml").write_text(text.replace("1.5", "[1]") + '[archive]\nuri = "archive"\n')
    with pytest.raises(ConfigError, match="Gain"):
        read_config(tmp_path / "line.toml")


@dataclass
class ProducersBuffer:
    """What harvesters asks a producer's buffer for (GenTL's BUFFER_INFO)."""

    raw_buffer: bytes
    width: int
    height: int
    pixel_format: int
    padding_x: int = 0


def component(name: str, data: bytes, width: int, height: int, *, padding: int = 0) -> Any:
    """harvesters' component of a buffer with these bytes."""
    codes = {symbol: code for code, symbol in core.dict_by_ints.items()}
    buffer = ProducersBuffer(data, width, height, codes[name], padding)
    return core.Component2DImage(buffer=buffer, node_map=object())


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Mono10p and Mono12p: the samples' bits one after the other, the lowest first (PFNC)."""
    spread = (samples.ravel()[:, None] >> np.arange(bits)) & 1
    return np.packbits(spread.astype(np.uint8), bitorder="little").tobytes()


def samples_of(bits: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 1 << bits, (6, 8), dtype=np.uint16)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_samples_come_as_they_are(bits: int) -> None:
    samples = samples_of(bits)

    pixels = pixels_of([component(f"Mono{bits}", samples.astype("<u2").tobytes(), 8, 6)])

    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, samples)


@pytest.mark.parametrize("bits", [10, 12])
def test_packed_samples_are_unpacked(bits: int) -> None:
    samples = samples_of(bits)

    assert np.array_equal(pixels_of([component(f"Mono{bits}p", packed(samples, bits), 8, 6)]), samples)


def test_packed_samples_of_gige_vision_are_unpacked() -> None:
    """The high bits of two samples, and their low bits in the byte between."""
    samples = samples_of(12)
    first, second = samples.ravel()[::2], samples.ravel()[1::2]
    between = (first & 15) | (second & 15) << 4
    data = np.stack([first >> 4, between, second >> 4], 1).astype(np.uint8).tobytes()

    assert np.array_equal(pixels_of([component("Mono12Packed", data, 8, 6)]), samples)


def test_colour_comes_as_rgb() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)

    rgb = pixels_of([component("RGB8", picture.tobytes(), 8, 6)])
    bgr = pixels_of([component("BGR8", picture[..., ::-1].tobytes(), 8, 6)])

    assert np.array_equal(rgb, picture)
    assert np.array_equal(bgr, picture)


def test_padded_rows_are_cut() -> None:
    rows = np.arange(60, dtype=np.uint8).reshape(6, 10)

    assert np.array_equal(pixels_of([component("Mono8", rows.tobytes(), 8, 6, padding=2)]), rows[:, :8])


def test_the_picture_outlives_the_buffer() -> None:
    data = bytearray(48)
    pixels = pixels_of([component("Mono8", data, 8, 6)])  # type: ignore[arg-type]

    data[:] = b"\xff" * 48

    assert not pixels.any()


@pytest.mark.parametrize("name", ["BayerRG8", "YUV422_8", "RGBa8", "Mono8s"])
def test_other_pixel_formats_are_refused_by_name(name: str) -> None:
    with pytest.raises(SourceError, match=f"{name}; set its PixelFormat to one of Mono8"):
        pixels_of([component(name, bytes(8 * 6 * 4), 8, 6)])


def test_a_buffer_without_one_picture_is_refused() -> None:
    one = component("Mono8", bytes(48), 8, 6)

    for components in ([], [one, one]):
        with pytest.raises(ImageError, match=f"holds {len(components)} pictures"):
            pixels_of(components)


def test_each_pixel_format_that_is_taken_is_known_to_harvesters() -> None:
    assert set(MONO + COLOUR) <= set(core.dict_by_ints.values())


@given(
    start=st.integers(0, 70000),
    lost=st.lists(st.integers(0, 2000), max_size=60),
    wide=st.booleans(),
)
def test_a_cameras_count_is_followed_around(start: int, lost: list[int], wide: bool) -> None:
    """A GigE Vision 1 camera counts 1 to 65535, and 1 again; others count on."""
    numbers, count, total = BlockNumbers(), start, 1
    numbers.connected()

    def block(count: int) -> int:
        return count if wide else count % 65535 + 1

    assert numbers.next(block(count)) == 1
    for gap in lost:
        count, total = count + gap + 1, total + gap + 1
        assert numbers.next(block(count)) == total


def test_a_camera_that_begins_anew_has_lost_one_frame_at_least() -> None:
    numbers = BlockNumbers()
    numbers.connected()
    before = [numbers.next(block) for block in (0, 1, 5000, 0, 1)]
    numbers.connected()

    assert [*before, numbers.next(0)] == [1, 2, 5001, 5002, 5003, 5005]
