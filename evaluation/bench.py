"""Codecs measured on real images: rate from encoded bytes, fidelity, speed, memory. No detector here.

Each codec runs in a process of its own, so that its peak memory is its own and a crash names it.

    result = run_bench(image_paths(Path("sample_data")), ["jpeg", "avif"], {}, anchor="jpeg")
    result.bd_rate["avif"].percent
"""

import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image as PillowImage

from inspect_compress.bd import BdRate, bd_rate
from inspect_compress.codecs import Codec, load_codec
from inspect_compress.errors import ConfigError, InspectCompressError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import PICTURE_FORMATS, Image, read_8_bit_image

DEFAULT_LADDER = (20, 30, 40, 50, 60, 70, 80, 90)
LADDERS: Mapping[str, tuple[int, ...]] = {
    "jpeg": (15, 25, 40, 60, 75, 85, 92, 95),
    "jpeg2000": (20, 30, 40, 48, 56, 64, 72, 80, 86, 92),
    "webp": (10, 25, 45, 70, 80, 88, 95, 99),
    "avif": (5, 20, 35, 50, 65, 78, 85, 90),
    "jxl": (10, 20, 40, 60, 75, 85, 92, 95),
    "png": (100,),
}
"""Qualities per codec that spread over 36 to 50 dB on solar cells (ELPV) and 33 to 47 dB on magnetic tiles at half
size, so that no end of the range is left out of a mean; `DEFAULT_LADDER` for all others."""

Item = TypeVar("Item")
Step = Callable[[str], None]
"""Called with the codec's name whenever one image has been measured at one quality."""


@dataclass(frozen=True)
class Row:
    """One codec at one quality, over all images."""

    codec: str
    quality: int
    images: int
    bpp: float
    """Bits of the encoded file per pixel, mean over the images."""
    psnr: float
    """Mean of the images' PSNR in dB, over those that lost anything; infinite where none did."""
    exact_images: int
    """How many images came back without any loss; they are no part of `psnr`."""
    ms_ssim: float
    encode_mpx_s: float
    """Megapixels per second of wall time, all images together."""
    decode_mpx_s: float
    encode_cores: float
    """Processor time over wall time: how many cores were at work on average."""
    decode_cores: float


@dataclass(frozen=True)
class Memory:
    """Peak resident memory in MB (1e6 bytes) of a fresh process that coded the largest image and back."""

    process_mb: float | None
    """Absolute, with Python and what reads the image. None where the system does not tell."""
    added_mb: float | None
    """What the codec added to that process: its libraries, its weights and its work."""


@dataclass(frozen=True)
class BenchResult:
    """What a run found; `bd_rate` and `memory` are by codec, and the anchor has no BD-rate."""

    rows: list[Row]
    anchor: str
    bd_rate: dict[str, BdRate]
    memory: dict[str, Memory]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; what is infinite or unknown is None."""
        return {
            "rows": [_finite(asdict(row)) for row in self.rows],
            "anchor": self.anchor,
            "bd_rate": {codec: bd.percent for codec, bd in self.bd_rate.items()},
            "bd_rate_psnr_range": {c: bd.span for c, bd in self.bd_rate.items() if bd.span},
            "bd_rate_doubt": {codec: bd.doubt for codec, bd in self.bd_rate.items() if bd.doubt},
            "bd_rate_missing": {codec: bd.reason for codec, bd in self.bd_rate.items() if bd.reason},
            "memory": {codec: asdict(memory) for codec, memory in self.memory.items()},
        }


def run_bench(
    paths: Sequence[Path],
    codecs: Sequence[str],
    qualities: Mapping[str, Sequence[int]],
    *,
    anchor: str,
    step: Step = lambda codec: None,
) -> BenchResult:
    """Measure each codec on the images at `paths`, and its BD-rate against `anchor`, one of `codecs`.

    `qualities` overrides a codec's ladder. Raises InspectCompressError where an image cannot be read or a
    codec fails.
    """
    rows: list[Row] = []
    memory: dict[str, Memory] = {}
    for codec in codecs:
        ladder = sorted(set(qualities.get(codec) or ladder_of(codec)))
        codec_rows, memory[codec] = _in_own_process(codec, ladder, paths, step)
        rows += codec_rows
    curves = {codec: [(r.bpp, r.psnr) for r in rows if r.codec == codec] for codec in codecs}
    rates = {codec: bd_rate(curves[anchor], curves[codec]) for codec in codecs if codec != anchor}
    return BenchResult(rows, anchor, rates, memory)


def ladder_of(codec: str) -> tuple[int, ...]:
    """The qualities at which a codec is measured unless told otherwise."""
    return LADDERS.get(codec, DEFAULT_LADDER)


def evenly_spaced(paths: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` of `paths`, spread evenly over the whole list; all where `limit` is None."""
    if limit is None or limit >= len(paths):
        return list(paths)
    return [paths[place * len(paths) // limit] for place in range(limit)]


def _in_own_process(
    codec: str, qualities: Sequence[int], paths: Sequence[Path], step: Step
) -> tuple[list[Row], Memory]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, codec, qualities, paths), daemon=True)
    process.start()
    sender.close()
    try:
        while True:
            message = receiver.recv()
            if isinstance(message, InspectCompressError):
                raise message
            if message is not None:
                return message
            step(codec)
    except EOFError:
        process.join()
        raise ConfigError(
            f"codec {codec}: its process ended early with status {process.exitcode}; "
            "see its message above, or give the machine more memory"
        ) from None
    finally:
        process.kill()
        process.join()


def _child(sender: Connection, codec: str, qualities: Sequence[int], paths: Sequence[Path]) -> None:
    """Measure one codec and send None for each step, then the result, or the error that a user may see."""
    try:
        sender.send(_measure(codec, qualities, paths, lambda: sender.send(None)))
    except InspectCompressError as error:
        sender.send(error)


def _measure(
    name: str, qualities: Sequence[int], paths: Sequence[Path], step: Callable[[], None]
) -> tuple[list[Row], Memory]:
    image = read_8_bit_image(_largest(paths))
    before = _peak_mb()
    codec = load_codec(name)
    codec.decode(codec.encode(image, quality=max(qualities)))
    after = _peak_mb()  # before any fidelity is computed, whose arrays are larger than most codecs'
    added = None if before is None or after is None else after - before
    tallies = {quality: _Tally() for quality in qualities}
    for path in paths:
        image = read_8_bit_image(path)
        for quality, tally in tallies.items():
            tally.add(codec, image, quality, str(path))
            step()
    rows = [tally.row(name, quality) for quality, tally in tallies.items()]
    return rows, Memory(process_mb=after, added_mb=added)


class _Tally:
    """The running sums of one codec at one quality."""

    def __init__(self) -> None:
        self.bpp: list[float] = []
        self.psnr: list[float] = []
        self.ms_ssim: list[float] = []
        self.pixels = 0
        self.encode = _Clock()
        self.decode = _Clock()

    def add(self, codec: Codec, image: Image, quality: int, name: str) -> None:
        with self.encode:
            data = codec.encode(image, quality=quality)
        with self.decode:
            decoded = codec.decode(data)
        pixels = image.shape[0] * image.shape[1]
        self.pixels += pixels
        self.bpp.append(8 * len(data) / pixels)
        try:
            self.psnr.append(psnr(image, decoded))
            self.ms_ssim.append(ms_ssim(image, decoded))
        except InspectCompressError as error:
            raise ConfigError(f"codec {codec.codec_id}: {name} at quality {quality}: {error}") from error

    def row(self, codec: str, quality: int) -> Row:
        lossy = [value for value in self.psnr if math.isfinite(value)]
        megapixels = self.pixels / 1e6
        return Row(
            codec=codec,
            quality=quality,
            images=len(self.bpp),
            bpp=_mean(self.bpp),
            psnr=_mean(lossy) if lossy else math.inf,
            exact_images=len(self.psnr) - len(lossy),
            ms_ssim=_mean(self.ms_ssim),
            encode_mpx_s=megapixels / self.encode.wall,
            decode_mpx_s=megapixels / self.decode.wall,
            encode_cores=self.encode.cpu / self.encode.wall,
            decode_cores=self.decode.cpu / self.decode.wall,
        )


class _Clock:
    """Sums up wall and processor time in seconds over the blocks it is entered for."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *exception: object) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]


def _largest(paths: Sequence[Path]) -> Path:
    """The image with the most pixels, by its header; what cannot be read fails later, by name."""

    def pixels(path: Path) -> int:
        try:
            with PillowImage.open(path, formats=PICTURE_FORMATS) as file:
                return file.width * file.height
        except Exception:  # Pillow raises almost anything on damaged files
            return 0

    return max(paths, key=pixels)


def _peak_mb() -> float | None:
    """This process's peak resident memory in MB, or None where the system does not tell.

    On Linux from VmHWM: `ru_maxrss` would start at what the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
