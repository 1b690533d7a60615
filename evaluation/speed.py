"""How fast QARV is, whole: pixels to file and back, beside the network of its authors in the same run."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from evaluation.authors_shape import AuthorsNetwork
from evaluation.surface import surface
from inspect_compress.files import write_file
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.kernels import fastest_kernels
from inspect_compress.qarv.layers import TorchLayers
from inspect_compress.qarv.products import FastestProducts
from inspect_compress.qarv.weights import default_fingerprint, read_weights, weight_file

QUALITY = 60
SIZES = {"512×768 colour": (512, 768, 3), "2048×2048 mono": (2048, 2048)}
_AUTHORS_SIZE = "512×768 colour"
_RUNS, _SECONDS = 2, 2.0
"""Of everything that is timed, at least: as long for what is fast as for what is slow."""

Step = Callable[[str], None]
"""Called with what is being timed."""


@dataclass(frozen=True)
class SpeedRow:
    """Megapixels per second of wall time, the best of some runs; `*_cores`: processor time over wall time."""

    what: str
    size: str
    encode_mpx_s: float
    decode_mpx_s: float
    encode_cores: float
    decode_cores: float


@dataclass(frozen=True)
class SpeedResult:
    """Rows, threads of torch, the kernels that this machine takes ("" for none: see qarv/kernels.py), and how many
    times faster than the authors' network QARV is on the same picture.
    """

    rows: list[SpeedRow]
    threads: int
    kernels: str
    encode_times_faster: float
    decode_times_faster: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def run_speed(step: Step = lambda what: None) -> SpeedResult:
    """Time QARV from pixels to a `.qarv` file on disk and back, with and without compiled code, and the authors'
    network alone.

    QARV's time holds the network, entropy coding, checksums, and writing or reading the file.
    """
    threads, kernels = torch.get_num_threads(), fastest_kernels()
    rows = [_qarv("QARV, pixels and file", QarvCodec(), name, shape, step) for name, shape in SIZES.items()]
    authors = _authors(SIZES[_AUTHORS_SIZE], step)
    same = next(row for row in rows if row.size == _AUTHORS_SIZE)
    return SpeedResult(
        [*rows, *(_uncompiled(step) if kernels else []), authors],
        threads,
        kernels.name if kernels else "",
        same.encode_mpx_s / authors.encode_mpx_s,
        same.decode_mpx_s / authors.decode_mpx_s,
    )


def _uncompiled(step: Step) -> list[SpeedRow]:
    what, layers = "QARV without compiled code", TorchLayers(FastestProducts())
    codec = QarvCodec(read_weights(weight_file(default_fingerprint()), layers))
    return [_qarv(what, codec, name, shape, step) for name, shape in SIZES.items()]


def _qarv(what: str, codec: QarvCodec, name: str, shape: tuple[int, ...], step: Step) -> SpeedRow:
    image = surface(shape)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.qarv"
        step(f"{what}, {name}, encode")
        encode = _best(lambda: write_file(file, codec.encode(image, quality=QUALITY), overwrite=True))
        step(f"{what}, {name}, decode")
        decode = _best(lambda: codec.decode(file.read_bytes()))
    return _row(what, name, shape, encode, decode)


def _authors(shape: tuple[int, ...], step: Step) -> SpeedRow:
    height, width, _ = shape
    with torch.inference_mode():
        network = AuthorsNetwork().eval()
        images = torch.rand(1, 3, height, width)
        step("authors' network, encode")
        encode = _best(lambda: network.encode(images))
        step("authors' network, decode")
        decode = _best(lambda: network.decode(images))
    return _row("authors' shape, network only", _AUTHORS_SIZE, shape, encode, decode)


def _row(
    what: str, size: str, shape: tuple[int, ...], encode: tuple[float, float], decode: tuple[float, float]
) -> SpeedRow:
    megapixels = shape[0] * shape[1] / 1e6
    return SpeedRow(
        what, size, megapixels / encode[0], megapixels / decode[0], encode[1] / encode[0], decode[1] / decode[0]
    )


def _best(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of the run with the least wall time, after one that does not count."""
    work()
    times: list[tuple[float, float]] = []
    while len(times) < _RUNS or sum(wall for wall, _ in times) < _SECONDS:
        wall, processor = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(times)
