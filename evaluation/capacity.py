"""What a number of cameras needs: cores, network and storage, computed from a frame that is timed on this machine.

The arithmetic is that of a line that stores every frame as `run` does. GPUs are not considered: none was measured.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import mean
from typing import Any, TypeVar

from evaluation.surface import surface
from inspect_compress.codecs import load_codec
from inspect_compress.guard import encode_guarded
from inspect_compress.images import Image

USED = 0.7
"""The part of a core's time that is planned with; the rest is for reading, committing, the detector and peaks."""
SHAPE = (2048, 2448)
"""Rows and columns of the frame that is timed where none is given: a common sensor of 5 MP, mono."""
YEAR_SECONDS = 365 * 24 * 3600
RUNS = 2

T = TypeVar("T")

Step = Callable[[str], None]
"""Called with what is being timed."""


@dataclass(frozen=True)
class Line:
    """Cameras that are alike: megapixels of a frame, mono, frames a second of each, and hours of work a day."""

    megapixels: float
    frames_a_second: float
    hours_a_day: float


@dataclass(frozen=True)
class Cost:
    """What a megapixel costs: core seconds to encode and check, and to read back and decode; bits stored a pixel."""

    codec: str
    quality: int
    encode_seconds: float
    decode_seconds: float
    bits_a_pixel: float

    @property
    def seconds(self) -> float:
        """Core seconds in all."""
        return self.encode_seconds + self.decode_seconds


@dataclass(frozen=True)
class Need:
    """What `cameras` need. Network and storage are decimal: 1 Mbit/s is 10^6 bits a second, 1 TB is 10^12 bytes."""

    cameras: int
    frames_a_second: float
    cores: int
    camera_mbit_s: float
    archive_mbit_s: float
    raw_tb_a_year: float
    archive_tb_a_year: float


@dataclass(frozen=True)
class Capacity:
    """The measured cost, frames per second of one core that it means, and what each number of cameras needs."""

    line: Line
    cost: Cost
    frames_a_second_a_core: float
    needs: tuple[Need, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"used": USED}


def plan(line: Line, cost: Cost, cameras: Sequence[int]) -> Capacity:
    """What each number of cameras needs."""
    return Capacity(
        line, cost, 1 / (cost.seconds * line.megapixels), tuple(_need(line, cost, count) for count in cameras)
    )


def measure(codec_name: str, quality: int, images: Sequence[Image], step: Step = lambda what: None) -> Cost:
    """Time a codec on `images`, by default on a generated metal surface of 5 MP.

    Times are of the processor and not of the clock, so that other work on the machine counts little.
    """
    codec, lossless = load_codec(codec_name), load_codec("jxl")
    images = images or [surface(SHAPE)]
    codec.decode(codec.encode(images[0][:256, :256], quality=quality))  # the first call of a codec is slower
    encoded, decoded, bits = [], [], []
    for number, image in enumerate(images, 1):
        step(f"frame {number} of {len(images)}")
        megapixels = image.shape[0] * image.shape[1] / 1e6
        work = partial(encode_guarded, codec, image, quality=quality, lossless=lossless)
        seconds, kept = _timed(work)
        encoded.append(seconds / megapixels)
        decoded.append(_timed(partial(kept.codec.decode, kept.data))[0] / megapixels)
        bits.append(8 * len(kept.data) / (megapixels * 1e6))
    return Cost(codec_name, quality, mean(encoded), mean(decoded), mean(bits))


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds, the least of some runs, and what the last one gave."""
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        result = work()
        times.append(time.process_time() - began)
    return min(times), result


def _need(line: Line, cost: Cost, cameras: int) -> Need:
    frames = cameras * line.frames_a_second
    megapixels = frames * line.megapixels
    working_seconds = YEAR_SECONDS * line.hours_a_day / 24
    return Need(
        cameras=cameras,
        frames_a_second=frames,
        cores=math.ceil(megapixels * cost.seconds / USED),
        camera_mbit_s=8 * megapixels,
        archive_mbit_s=cost.bits_a_pixel * megapixels,
        raw_tb_a_year=megapixels * 1e6 * working_seconds / 1e12,
        archive_tb_a_year=megapixels * 1e6 * cost.bits_a_pixel / 8 * working_seconds / 1e12,
    )
