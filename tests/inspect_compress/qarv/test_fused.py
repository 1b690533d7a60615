"""Layers computed by kernels.cpp give the integers that torch gives in float64, whatever their sizes and numbers.

The encoder's are floats, and nearly those of torch.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from evaluation.surface import surface
from inspect_compress.errors import ConfigError
from inspect_compress.qarv import kernels, threads
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.fused import FusedLayers, fastest_layers
from inspect_compress.qarv.kernels import all_kernels, fastest_kernels
from inspect_compress.qarv.layers import ExactConditions, Layers, Tensors, TorchLayers
from inspect_compress.qarv.network import Block, Conditions, Enter, Halve, Posterior, checkerboard
from inspect_compress.qarv.products import WIDE, FloatProducts
from inspect_compress.qarv.rounding import PRICE
from inspect_compress.qarv.tables import gaussian_tables
from inspect_compress.qarv.threads import one_thread
from inspect_compress.qarv.weights import CodingNetwork, default_fingerprint, read_weights, weight_file, weights_from

KERNELS = [name for name, kernels in all_kernels().items() if kernels.usable]
SURE = TorchLayers(FloatProducts(torch.float64))
WIDTHS = [16, 24, 32, 96]
"""Of features; 16 and 24 are not ones that every kernel is made for."""

pytestmark = pytest.mark.skipif(not KERNELS, reason="no compiler built the kernels, or this is another processor")
each_build = pytest.mark.parametrize("name", KERNELS)
many = settings(max_examples=25, deadline=None)


@pytest.fixture(autouse=True)
def _without_torch_threads() -> Iterator[None]:
    with one_thread(), torch.inference_mode():
        yield


def fused(name: str) -> Layers:
    return FusedLayers(all_kernels()[name])


class Numbers:
    """Random numbers of the sizes that weight files have."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def integers(self, most: int, *shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
        """Whole numbers, as often at their limits as between."""
        values = self._rng.integers(-most, most + 1, shape)
        edges = self._rng.choice([-most, most], shape)
        return torch.from_numpy(np.where(self._rng.random(shape) < 0.5, values, edges)).to(dtype)

    def positive(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(np.exp(self._rng.uniform(np.log(low), np.log(high), shape)).astype(np.float32))

    def features(self, *shape: int, most: int = WIDE) -> Tensor:
        return self.integers(most, *shape, dtype=torch.int16)

    def exponents(self, low: int, high: int, count: int) -> Tensor:
        return torch.from_numpy(self._rng.integers(low, high + 1, count)).to(torch.int8)

    def linear(self, outputs: int, inputs: int, most: int) -> dict[str, Tensor]:
        dtype = torch.int8 if most < 128 else torch.int16
        weight = self.integers(most, outputs, inputs, dtype=dtype)
        return {"weight": weight, "scale": self.positive(1e-5, 1e-2, outputs)}


def block_tensors(numbers: Numbers, channels: int) -> Tensors:
    hidden = 2 * channels
    return {
        "depthwise": numbers.integers(20, channels, 1, 5, 5, dtype=torch.int8),
        "depthwise_exponent": numbers.exponents(6, 7, channels),
        "depthwise_bias": numbers.integers(100_000, channels),
        "least_power": torch.tensor(16.8, dtype=torch.float64),
        "scale": numbers.positive(0.5, 200, 256, channels).half(),
        "shift": numbers.integers(4000, 256, channels),
        "up": numbers.integers(127, hidden, channels, dtype=torch.int8),
        "up_exponent": numbers.exponents(1, 6, hidden),
        "up_bias": numbers.integers(7000, hidden),
        "down": numbers.integers(127, channels, hidden, dtype=torch.int8),
        "down_scale": numbers.positive(1e-5, 1e-3, channels),
        "down_bias": numbers.integers(30, channels).float(),
    }


def tell_tensors(numbers: Numbers, width: int, channels: int) -> Tensors:
    back = numbers.linear(width, channels, 127)
    return {
        "back.weight": back["weight"],
        "back.scale": back["scale"],
        "context": numbers.integers(127, width, 2 * channels, dtype=torch.int8),
        "context_exponent": numbers.exponents(2, 6, width),
        "context_bias": numbers.integers(2000, width),
    }


sides = st.integers(1, 21)
seeds = st.integers(0, 2**32 - 1)


@each_build
@many
@given(
    seeds, st.sampled_from(WIDTHS), st.integers(1, 3), sides, sides, st.booleans(), st.sampled_from([200, 1500, WIDE])
)
def test_blocks(
    name: str, seed: int, channels: int, batch: int, height: int, width: int, mapped: bool, most: int
) -> None:
    """`most`: squares of filtered features are summed in another way where they are small."""
    numbers = Numbers(seed)
    tensors = block_tensors(numbers, channels)
    cells = (height, width) if mapped else (1, 1)
    shape = (batch, height, width) if not mapped else (batch, 2 * height, 2 * width)
    index = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (batch, *cells)))
    conditions = ExactConditions(index, torch.ones(index.shape))
    f = numbers.features(*shape, channels, most=most)

    assert torch.equal(fused(name).block(tensors)(f, conditions).float(), SURE.block(tensors)(f.float(), conditions))


@each_build
@many
@given(seeds, st.sampled_from(WIDTHS), st.integers(1, 40), st.integers(1, 2), sides, sides, st.booleans())
def test_rows(name: str, seed: int, width: int, latents: int, batch: int, h: int, w: int, mapped: bool) -> None:
    numbers = Numbers(seed)
    tensors = numbers.linear(latents, width, 127)
    places = checkerboard(h, w, torch.device("cpu"))[0]
    table = numbers.integers(40, batch, len(places) if mapped else 1, latents).float() + 0.5
    f = numbers.features(batch, h, w, width)

    rows = fused(name).rows(tensors)(f, table, places)

    assert rows.dtype == torch.uint8
    assert torch.equal(rows, SURE.rows(tensors)(f.float(), table, places))


@each_build
@many
@given(seeds, st.sampled_from(WIDTHS), st.integers(1, 16), st.integers(1, 2), sides, sides, st.booleans())
def test_tell(name: str, seed: int, width: int, channels: int, batch: int, h: int, w: int, mapped: bool) -> None:
    numbers = Numbers(seed)
    tensors = tell_tensors(numbers, width, channels)
    first = seed % (width - channels + 1)
    places = checkerboard(h, w, torch.device("cpu"))[0]
    steps = numbers.integers(10**6 if seed % 2 else 6, batch, len(places), channels).float()
    unit = numbers.positive(30, 1000, batch, len(places) if mapped else 1, channels)
    f = numbers.features(batch, h, w, width)
    expected = f.float()

    fused(name).tell(tensors, first, channels)(f, steps, unit, places)

    SURE.tell(tensors, first, channels)(expected, steps, unit, places)
    assert torch.equal(f.float(), expected)


@each_build
@many
@given(seeds, st.sampled_from(WIDTHS), st.sampled_from(WIDTHS), st.integers(1, 2), sides, sides)
def test_double(name: str, seed: int, width: int, finer: int, batch: int, h: int, w: int) -> None:
    numbers = Numbers(seed)
    tensors = {**numbers.linear(4 * finer, width, 600), "bias": numbers.integers(160, 4 * finer).float()}
    f = numbers.features(batch, h, w, width)

    assert torch.equal(fused(name).double(tensors)(f).float(), SURE.double(tensors)(f.float()))


@each_build
@many
@given(seeds, st.sampled_from(WIDTHS), st.integers(1, 2), sides, sides)
def test_leave(name: str, seed: int, width: int, batch: int, h: int, w: int) -> None:
    numbers = Numbers(seed)
    tensors = numbers.linear(256, width, 600)
    f = numbers.features(batch, h, w, width)

    assert torch.equal(fused(name).leave(tensors)(f), SURE.leave(tensors)(f.float()))


def encoder_block(seed: int, width: int) -> Block:
    torch.manual_seed(seed)
    block = Block(width).requires_grad_(False)
    torch.nn.init.normal_(block.down.weight, std=0.1)
    return block


def conditions_of(seed: int, batch: int, height: int, width: int) -> Conditions:
    return Conditions(torch.randn(batch, height, width, 64), torch.zeros(batch, height, width, 1))


@each_build
@many
@given(seeds, st.sampled_from(WIDTHS), st.integers(1, 2), sides, sides, st.booleans())
def test_encoder_blocks(name: str, seed: int, width: int, batch: int, h: int, w: int, mapped: bool) -> None:
    block = encoder_block(seed, width)
    conditions = conditions_of(seed, batch, h, w) if mapped else conditions_of(seed, batch, 1, 1)
    f = torch.randn(batch, *((2 * h, 2 * w) if mapped else (h, w)), width)

    torch.testing.assert_close(fused(name).encoder_block(block)(f, conditions), block(f, conditions))


@each_build
@many
@given(seeds, st.sampled_from(WIDTHS), st.integers(1, 40), st.integers(1, 2), sides, sides)
def test_what_the_encoder_wants(name: str, seed: int, width: int, latents: int, batch: int, h: int, w: int) -> None:
    torch.manual_seed(seed)
    posterior = Posterior(width, latents).requires_grad_(False)
    decoder, encoder = (
        Numbers(seed).integers(3, batch, h, w, width, dtype=torch.int16),
        torch.randn(batch, h, w, width),
    )
    mean, bias = torch.randn(latents, width), torch.randn(latents)
    places = checkerboard(h, w, torch.device("cpu"))[0]

    for gain in (torch.rand(batch, len(places), latents), torch.rand(batch, 1, latents)):
        wanted = fused(name).wanted(posterior, mean, bias)(decoder, encoder, gain, places)
        sure = SURE.wanted(posterior, mean, bias)(decoder.float(), encoder, gain, places)
        torch.testing.assert_close(wanted, sure, rtol=1e-5, atol=1e-4)


@each_build
@many
@given(seeds, st.sampled_from(WIDTHS), st.booleans(), st.integers(1, 2), sides, sides)
def test_the_encoders_way_to_coarser_strides(
    name: str, seed: int, width: int, folded: bool, batch: int, h: int, w: int
) -> None:
    torch.manual_seed(seed)
    enter = Enter(width, folded=folded).requires_grad_(False)
    halve = Halve(4 * width, 2 * width).requires_grad_(False)
    enter.bias.normal_()
    planes, features = torch.randn(batch, 1, 8 * h, 8 * w), torch.randn(batch, 2 * h, 2 * w, width)

    torch.testing.assert_close(fused(name).enter(enter)(planes), enter(planes), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(fused(name).halve(halve)(features), halve(features), rtol=1e-5, atol=1e-4)


@each_build
@many
@given(seeds, st.integers(1, 40), st.integers(1, 2), sides)
def test_rounding(name: str, seed: int, latents: int, batch: int, places: int) -> None:
    numbers, tables = Numbers(seed), gaussian_tables()
    steps = numbers.positive(1e-3, 1e8, batch, places, latents) * numbers.integers(1, batch, places, latents)
    rows = torch.from_numpy(np.random.default_rng(seed).integers(0, 64, steps.shape).astype(np.uint8))

    rounded = fused(name).rounding(tables, PRICE)(steps, rows)

    assert torch.equal(rounded, SURE.rounding(tables, PRICE)(steps, rows))


def codec_of(name: str) -> QarvCodec:
    return QarvCodec(read_weights(weight_file(default_fingerprint()), fused(name)))


@each_build
@many
@given(seeds, sides, sides, st.booleans())
def test_pictures(name: str, seed: int, height: int, width: int, halved: bool) -> None:
    rng, grey = np.random.default_rng(seed), (1, height, width)
    shapes = [grey, (2, -(-height // 2), -(-width // 2))] if halved else [grey] * 3
    parts = [rng.uniform(-0.2, 1.2, (*shape[:2], 2 * shape[2])).astype(np.float32)[..., ::2] for shape in shapes]

    assert np.array_equal(fused(name).picture(parts), SURE.picture(parts))
    assert np.array_equal(fused(name).picture(parts[:1]), SURE.picture(parts[:1]))


@each_build
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_of_many_parts(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_THREADS", count)
    rng = np.random.default_rng(0)
    parts = [rng.uniform(-0.2, 1.2, shape).astype(np.float32) for shape in ((1, 101, 333), (2, 51, 167))]

    for some in (parts, parts[:1]):
        assert np.array_equal(fused(name).picture(some), SURE.picture(some))


@each_build
def test_files_and_pictures_do_not_depend_on_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, image = codec_of(name), surface((300, 400, 3))
    monkeypatch.setattr(threads, "_THREADS", 1)
    file = codec.encode(image, quality=70)
    picture = codec.decode(file)

    for count in (2, 3, 8):
        monkeypatch.setattr(threads, "_THREADS", count)
        for _ in range(3):
            assert codec.encode(image, quality=70) == file
            assert np.array_equal(codec.decode(file), picture)


@each_build
def test_threads_of_a_program_can_code_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_THREADS", 4)
    codec, image = codec_of(name), surface((200, 300))
    expected = codec.encode(image, quality=70)

    with ThreadPoolExecutor(6) as pool:
        files = list(pool.map(lambda _: codec.encode(image, quality=70), range(12)))

    assert files == [expected] * 12


@each_build
def test_a_forked_process_has_threads_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threads, "_THREADS", 3)
    codec, image = codec_of(name), surface((200, 300))
    expected = codec.encode(image, quality=70)

    process = get_context("fork").Process(
        target=lambda: (tmp_path / "file.qarv").write_bytes(codec.encode(image, quality=70))
    )
    process.start()
    process.join(60)

    assert process.exitcode == 0
    assert (tmp_path / "file.qarv").read_bytes() == expected


@each_build
def test_sums_that_leave_32_bits_are_those_of_float64(name: str) -> None:
    numbers = Numbers(0)
    tensors = {"weight": torch.full((256, 96), 32639, dtype=torch.int16), "scale": torch.full((256,), 1e-9)}
    f = numbers.features(1, 4, 4, 96).abs()

    assert torch.equal(fused(name).leave(tensors)(f), SURE.leave(tensors)(f.float()))


@each_build
def test_features_of_another_width_are_refused(name: str) -> None:
    numbers = Numbers(0)
    block = fused(name).block(block_tensors(numbers, 96))

    with pytest.raises(ValueError, match="other sizes"):
        block(numbers.features(1, 4, 4, 16), ExactConditions(torch.zeros(1, 1, 1).long(), torch.ones(1, 1, 1)))


def render_at_the_highest_lambda(network: CodingNetwork) -> Tensor:
    conditions = network.at(torch.tensor([[255]]), 1, halved=False)
    encoder = network.bottom_up(torch.zeros(1, 1, 64, 64), conditions)
    features = network.top_down((64, 64), conditions, lambda latents, _: torch.zeros(latents.rows.shape), encoder)
    return network.render(features, conditions)


@pytest.mark.parametrize(
    "tensor",
    [
        *(f"out.0.{part}" for part in ("depthwise", "depthwise_bias", "depthwise_exponent", "scale", "shift", "up")),
        *(f"out.0.{part}" for part in ("up_bias", "up_exponent", "down", "down_scale", "down_bias")),
        *(f"latents_8.1.{part}" for part in ("back.weight", "back.scale", "context", "context_bias", "step")),
        *(f"latents_8.1.{part}" for part in ("row.0.weight", "row.0.scale", "row_table.0", "gain")),
        *("double_16.weight", "double_16.scale", "double_16.bias", "leave.weight", "leave.scale", "start"),
    ],
)
def test_weights_that_contradict_each_other_are_an_error_and_no_crash(tensor: str) -> None:
    """Each tensor is cut by its last row, or number; another layer's would lie behind it in memory."""
    path = weight_file(default_fingerprint())
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[tensor] = tensors[tensor][:-1].clone()

    with pytest.raises((ConfigError, RuntimeError, ValueError, IndexError)):
        render_at_the_highest_lambda(weights_from(save(tensors, metadata), "cut").network)


def test_this_machine_takes_the_fastest_build() -> None:
    kernels = fastest_kernels()
    assert kernels
    assert kernels.lanes == max(each.lanes for each in all_kernels().values() if each.usable)
    assert isinstance(fastest_layers(), FusedLayers)


def test_a_build_of_other_sources_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for file in kernels.FOLDER.glob("*kernels*"):
        shutil.copy(file, tmp_path)
    for header in kernels.FOLDER.glob("*.hpp"):
        (tmp_path / header.name).write_bytes(header.read_bytes() + b"// edited since")
    (tmp_path / "_kernels_avx2.of-another-system.so").write_bytes(b"no library")
    monkeypatch.setattr(kernels, "FOLDER", tmp_path)
    kernels.sources.cache_clear()
    try:
        assert not all_kernels()
    finally:
        kernels.sources.cache_clear()


@pytest.mark.parametrize(("capability", "expected"), [("default", "TorchLayers 0"), ("avx2", "FusedLayers 8")])
def test_a_processor_without_the_instructions_takes_what_it_can(
    capability: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", capability)
    program = """
from inspect_compress.qarv.fused import fastest_layers
from inspect_compress.qarv.kernels import fastest_kernels
print(type(fastest_layers()).__name__, getattr(fastest_kernels(), "lanes", 0))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == expected
