"""Every way of computing a file's latents and pixels gives the same ones; files written once decode so for ever.

See docs/exactness.md. The golden files are made by make_golden.py.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from inspect_compress.images import Image
from inspect_compress.qarv import layers, strips
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.coding import coded_places, coded_size
from inspect_compress.qarv.container import VERSION, Header, Level, write_container
from inspect_compress.qarv.entropy import LevelWriter
from inspect_compress.qarv.exact import ExactNetwork, ExactPrediction
from inspect_compress.qarv.fused import FusedLayers
from inspect_compress.qarv.kernels import all_kernels
from inspect_compress.qarv.layers import Layers, TorchLayers
from inspect_compress.qarv.products import (
    NARROW,
    WIDE,
    FastestProducts,
    FloatProducts,
    Products,
    split,
)
from inspect_compress.qarv.range_coder import SYMBOL_LIMIT
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.threads import one_thread
from inspect_compress.qarv.weights import FOLDER, default_fingerprint, installed_model
from tests import reference_decoder

GOLDEN = Path(__file__).parent / "golden"
DIGESTS: dict[str, str] = {
    name: digest for file in sorted(GOLDEN.glob("*.json")) for name, digest in json.loads(file.read_text()).items()
}
MODEL = installed_model(default_fingerprint())
OWN = [name for name in DIGESTS if name.startswith(MODEL.fingerprint)]
PRODUCTS = {
    "float32": FloatProducts(),
    "float64": FloatProducts(torch.float64),
    "fastest": FastestProducts(),
}
IN_TORCH: dict[str, Layers] = {name: TorchLayers(products) for name, products in PRODUCTS.items()}
FUSED: dict[str, Layers] = {name: FusedLayers(kernels) for name, kernels in all_kernels().items() if kernels.usable}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(autouse=True)
def _without_torch_threads() -> Iterator[None]:
    """They wait for each other where tests share the cores; threads are tested in processes of their own."""
    with one_thread():
        yield


def digest_of(picture: Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def network_with(computed: Layers, device: str = "cpu") -> ExactNetwork:
    tensors = load_file(FOLDER / f"qarv-{MODEL.fingerprint}.safetensors", device=device)
    with torch.device(device):
        return ExactNetwork(MODEL.network.shape, tensors, computed)


def test_there_are_golden_files_of_the_default_model() -> None:
    assert len([name for name in OWN if name.startswith(f"{MODEL.fingerprint}-{VERSION}-")]) == 40


@pytest.mark.parametrize("name", DIGESTS)
def test_a_golden_file_decodes_to_its_pixels(name: str) -> None:
    assert digest_of(QarvCodec().decode((GOLDEN / name).read_bytes())) == DIGESTS[name]


@pytest.mark.parametrize("name", OWN)
def test_the_reference_decoder_agrees(name: str) -> None:
    weights = FOLDER / f"qarv-{MODEL.fingerprint}.safetensors"
    assert digest_of(reference_decoder.decode((GOLDEN / name).read_bytes(), weights)) == DIGESTS[name]


@pytest.mark.parametrize("computed", [*IN_TORCH, *FUSED])
@pytest.mark.parametrize("positions", [150, 10**9], ids=["strips", "whole"])
def test_number_types_kernels_and_strips_do_not_matter(
    computed: str, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "_POSITIONS", positions)
    monkeypatch.setattr(strips, "POSITIONS", positions)
    codec = QarvCodec(replace(MODEL, network=network_with((IN_TORCH | FUSED)[computed])))
    for name in OWN:
        assert digest_of(codec.decode((GOLDEN / name).read_bytes())) == DIGESTS[name], name


_DECODE_ALL = """
import hashlib, sys
from pathlib import Path
from inspect_compress import load_codec
codec = load_codec("qarv")
for file in sys.argv[1:]:
    print(hashlib.sha256(codec.decode(Path(file).read_bytes()).tobytes()).hexdigest())
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"OMP_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "2"},
        {"OMP_NUM_THREADS": "4"},
        {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "2"},
        {"ATEN_CPU_CAPABILITY": "avx2"},
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    ],
    ids=lambda environment: ",".join(f"{key}={value}" for key, value in environment.items()),
)
def test_threads_and_instruction_sets_do_not_matter(environment: dict[str, str]) -> None:
    """In processes of their own, since both are chosen when one starts; kernels are chosen by ATEN's capability."""
    command = [sys.executable, "-c", _DECODE_ALL, *(str(GOLDEN / name) for name in OWN)]
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [DIGESTS[name] for name in OWN]


def test_batches_do_not_matter() -> None:
    files = [(GOLDEN / name).read_bytes() for name in OWN]
    for start in range(0, len(files), 8):
        pictures = QarvCodec().decode_batch(files[start : start + 8])
        assert [digest_of(picture) for picture in pictures] == [DIGESTS[name] for name in OWN[start : start + 8]]


@dataclass
class Coded:
    """What was exchanged while a plane was coded, step by step, and the plane that it made."""

    rows: list[Tensor]
    steps: list[Tensor]
    planes: Tensor


class Noise:
    """An exchange that gives the residuals of an imagined picture, notes what it is asked, and writes them."""

    def __init__(self, seed: int, size: tuple[int, int], crc: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = size
        self.rows: list[Tensor] = []
        self.steps: list[Tensor] = []
        self.writers = {stride: LevelWriter(MODEL.models, crc) for stride in STRIDES}

    def __call__(self, prediction: ExactPrediction, latent: Tensor | None) -> Tensor:
        spread = self.rng.choice([0.7, 1e3, 1e6], prediction.rows.shape, p=[0.99, 0.009, 0.001])
        steps = np.clip(np.rint(self.rng.normal(0, spread)), -SYMBOL_LIMIT, SYMBOL_LIMIT)
        coded = coded_places(prediction.stride, prediction.places, self.size, MODEL.network.shape.margin).numpy()
        steps[:, np.setdiff1d(np.arange(steps.shape[1]), coded)] = 0
        rows = prediction.rows.numpy()[:, coded].ravel()
        self.writers[prediction.stride].put(steps[:, coded].ravel().astype(np.int32), rows)
        self.rows.append(prediction.rows)
        self.steps.append(torch.from_numpy(steps.astype(np.float32)))
        return self.steps[-1]


class Replay:
    """An exchange that gives residuals again, and notes what it is asked."""

    def __init__(self, steps: list[Tensor]) -> None:
        self.left: Iterator[Tensor] = iter(steps)
        self.rows: list[Tensor] = []

    def __call__(self, prediction: ExactPrediction, latent: Tensor | None) -> Tensor:
        self.rows.append(prediction.rows.cpu())
        return next(self.left).to(prediction.rows.device)


SIZE = (224, 160)


def everywhere(index: int) -> Tensor:
    return torch.tensor([[index]])


@cache
def coded(seed: int, index: int) -> Coded:
    network, exchange = network_with(IN_TORCH["float64"]), Noise(seed, SIZE)
    with torch.inference_mode():
        conditions = network.at(everywhere(index), 1, halved=False)
        planes = network.render(network.top_down(SIZE, conditions, exchange), conditions)
    return Coded(exchange.rows, exchange.steps, planes)


@pytest.mark.parametrize(
    ("computed", "device"),
    [
        ("float32", "cpu"),
        ("fastest", "cpu"),
        *((name, "cpu") for name in FUSED),
        pytest.param("float32", "cuda", marks=needs_cuda),
    ],
)
def test_a_batch_of_8_planes_is_computed_as_each_alone(computed: str, device: str) -> None:
    alone = [coded(seed, 130) for seed in range(8)]
    network = network_with((IN_TORCH | FUSED)[computed], device)
    exchange = Replay([torch.cat(steps) for steps in zip(*(one.steps for one in alone), strict=True)])
    with torch.device(device), torch.inference_mode():
        conditions = network.at(everywhere(130), 8, halved=False)
        planes = network.render(network.top_down(SIZE, conditions, exchange), conditions)
    for number, one in enumerate(alone):
        assert all(torch.equal(a[number], b[0]) for a, b in zip(exchange.rows, one.rows, strict=True))
        assert torch.equal(planes[number].cpu(), one.planes[0])


def test_the_layout_in_front_of_convolutions_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def planes_first(f: Tensor, start: int, stop: int, halo: int) -> Tensor:
        around = strips.with_halo(f, start, stop, halo)
        return around.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format).permute(0, 2, 3, 1)

    monkeypatch.setattr(layers, "with_halo", planes_first)
    codec = QarvCodec(replace(MODEL, network=network_with(IN_TORCH["fastest"])))
    for name in OWN:
        assert digest_of(codec.decode((GOLDEN / name).read_bytes())) == DIGESTS[name], name


@pytest.mark.parametrize("computed", ["fastest", *FUSED])
@pytest.mark.parametrize("index", [0, 90, 255])
def test_the_layout_of_features_does_not_matter(index: int, computed: str) -> None:
    one = coded(3, index)
    network = network_with((IN_TORCH | FUSED)[computed])
    with torch.inference_mode():
        conditions = network.at(everywhere(index), 1, halved=False)
        f = network.top_down(SIZE, conditions, Replay(one.steps))
        planes_first = f.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
        assert not planes_first.is_contiguous()
        assert torch.equal(network.render(planes_first, conditions), one.planes)


def imagined_file(seed: int, index: int, height: int, width: int) -> bytes:
    """A sound mono file of residuals that no encoder would make: escapes, and features beyond their limits."""
    header = Header(width, height, 1, 8, MODEL.fingerprint, index)
    network, exchange = network_with(IN_TORCH["float32"]), Noise(seed, (height, width), header.seed)
    with torch.inference_mode():
        conditions = network.at(everywhere(index), 1, halved=False)
        network.top_down(coded_size(network.shape, (height, width)), conditions, exchange)
    levels = [Level(stride, writer.finish(), writer.crc) for stride, writer in exchange.writers.items()]
    return write_container(header, levels)


@pytest.mark.parametrize(("seed", "index", "height", "width"), [(0, 0, 50, 70), (1, 128, 90, 20), (2, 255, 120, 88)])
def test_the_reference_decoder_agrees_on_files_that_no_encoder_makes(
    seed: int, index: int, height: int, width: int
) -> None:
    data = imagined_file(seed, index, height, width)
    expected = reference_decoder.decode(data, FOLDER / f"qarv-{MODEL.fingerprint}.safetensors")
    np.testing.assert_array_equal(QarvCodec().decode(data), expected)


def wide_integers() -> st.SearchStrategy[int]:
    return st.one_of(
        st.sampled_from([-WIDE, -WIDE + 1, -129, -128, 0, 127, 128, 129, WIDE]), st.integers(-WIDE, WIDE)
    )


@given(st.lists(wide_integers(), min_size=1, max_size=50))
def test_a_wide_integer_is_the_sum_of_two_narrow_ones(values: list[int]) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    high, low = split(x)
    assert torch.equal(256 * high + low, x)
    assert torch.cat([high, low]).to(torch.int8).tolist() == torch.cat([high, low]).tolist()


@pytest.mark.parametrize("products", PRODUCTS.values(), ids=PRODUCTS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_products_are_exact(products: Products, data: st.DataObject) -> None:
    """Against integers of any size; of wide products, as rounded to float32."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    places, inputs, outputs = (data.draw(st.integers(1, most)) for most in (40, 384, 40))
    extreme = data.draw(st.booleans())

    def integers(limit: int, *shape: int) -> np.ndarray:
        drawn = rng.integers(-limit, limit + 1, shape)
        return np.where(rng.random(shape) < 0.5, np.sign(drawn) * limit, drawn) if extreme else drawn

    x, weights = integers(NARROW, places, inputs), integers(NARROW, outputs, inputs)
    narrow = products.narrow(torch.from_numpy(weights).to(torch.int8))(torch.from_numpy(x).float())
    np.testing.assert_array_equal(narrow.numpy(), x @ weights.T)
    x, weights = integers(WIDE, places, inputs), integers(min(WIDE, (1 << 31) // WIDE // inputs), outputs, inputs)
    wide = products.wide(torch.from_numpy(weights).to(torch.int16))(torch.from_numpy(x).float())
    np.testing.assert_array_equal(wide.numpy(), (x @ weights.T).astype(np.float32))
