"""The layers of the exact network and its encoder in one pass each, by kernels.cpp: the integers of layers.py.

The decoder's features are int16 from layer to layer here. A layer that is not of the sizes that kernels.cpp is made
for, or whose sums could leave 32 bits, is left to torch.
"""

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from inspect_compress.images import Image
from inspect_compress.qarv import network
from inspect_compress.qarv.compiled_coder import CompiledCoder
from inspect_compress.qarv.kernels import (
    Block,
    EncoderBlock,
    Filter,
    Kernels,
    Linear,
    Map,
    Posterior,
    RealFilter,
    RealLinear,
    Tell,
    fastest_kernels,
)
from inspect_compress.qarv.lapped import BLOCK
from inspect_compress.qarv.layers import (
    BlockLayer,
    ExactConditions,
    FeaturesLayer,
    Layers,
    RowsLayer,
    TellLayer,
    Tensors,
    TorchLayers,
    WantedLayer,
    below,
)
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.network import LMBDA_STEPS, Conditions, cell_side
from inspect_compress.qarv.planes import RGB, ZEROS, Planes
from inspect_compress.qarv.products import NARROW, WIDE, FastestProducts, halvings, shifted_bias
from inspect_compress.qarv.range_coder import SYMBOL_LIMIT, Coder, Tables
from inspect_compress.qarv.rounding import MAGNITUDES, Rounder, thresholds
from inspect_compress.qarv.threads import threads_here

_FEATURES = torch.int16
_SIDE, _BAND = 5, 2
_PATCH = 16 * 16
_MOST_CHANNELS = 256
"""Whose squares kernels.cpp sums in 32 bits."""
_LEAST_POWER = 1e-6
"""That keeps normalised and scaled features, of half precision, within 32 bits."""


class FusedLayers:
    """Layers by kernels, on a CPU."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._others = TorchLayers(FastestProducts())

    def block(self, tensors: Tensors) -> BlockLayer:
        with suppress(_UnfitError):
            return _Block(tensors, self._kernels)
        block = self._others.block(tensors)
        return lambda f, conditions: block(f.float(), conditions).to(_FEATURES)

    def rows(self, tensors: Tensors) -> RowsLayer:
        with suppress(_UnfitError):
            return _Rows(tensors, self._kernels)
        rows = self._others.rows(tensors)
        return lambda f, table, places: rows(f.float(), table, places)

    def tell(self, tensors: Tensors, first: int, channels: int) -> TellLayer:
        with suppress(_UnfitError):
            return _Tell(tensors, self._kernels, first, channels)
        tell = self._others.tell(tensors, first, channels)

        def told(f: Tensor, steps: Tensor, unit: Tensor, places: Tensor) -> None:
            floats = f.float()
            tell(floats, steps, unit, places)
            f.copy_(floats)

        return told

    def double(self, tensors: Tensors) -> FeaturesLayer:
        with suppress(_UnfitError):
            return _Double(tensors, self._kernels)
        double = self._others.double(tensors)
        return lambda f: double(f.float()).to(_FEATURES)

    def leave(self, tensors: Tensors) -> FeaturesLayer:
        with suppress(_UnfitError):
            return _Leave(tensors, self._kernels)
        leave = self._others.leave(tensors)
        return lambda f: leave(f.float())

    def encoder_block(self, block: network.Block) -> nn.Module:
        with suppress(_UnfitError):
            return _EncoderBlock(block, self._kernels)
        return self._others.encoder_block(block)

    def enter(self, enter: network.Enter) -> nn.Module:
        with suppress(_UnfitError):
            return _Enter(enter, self._kernels)
        return self._others.enter(enter)

    def halve(self, halve: network.Halve) -> nn.Module:
        with suppress(_UnfitError):
            return _Halve(halve, self._kernels)
        return self._others.halve(halve)

    def wanted(self, posterior: network.Posterior, weight: Tensor, bias: Tensor) -> WantedLayer:
        with suppress(_UnfitError):
            return _Wanted(posterior, weight, bias, self._kernels)
        wanted = self._others.wanted(posterior, weight, bias)
        return lambda f, h, gain, places: wanted(f.float(), h, gain, places)

    def rounding(self, tables: Tables, price: float) -> Rounder:
        return _Rounding(tables, price, self._kernels)

    def coder(self, tables: Tables) -> Coder:
        return CompiledCoder(tables, self._kernels)

    def picture(self, parts: Sequence[Planes]) -> Image:
        if len(parts) == 1:
            samples = np.ascontiguousarray(parts[0][0], np.float32)
            image = np.empty(samples.shape, np.uint8)
            self._kernels.grey(samples.ctypes.data, samples.size, image.ctypes.data, threads_here())
            return image
        grey, first, second = (np.ascontiguousarray(plane, np.float32) for part in parts for plane in part)
        halved = len(parts) == 2
        _check(first.shape == second.shape == (tuple(-(-side // 2) for side in grey.shape) if halved else grey.shape))
        image = np.empty((*grey.shape, 3), np.uint8)
        planes = (grey.ctypes.data, first.ctypes.data, second.ctypes.data)
        numbers = (RGB.ctypes.data, ZEROS.ctypes.data)
        self._kernels.colours(*planes, halved, *grey.shape, *numbers, image.ctypes.data, threads_here())
        return image


def fastest_layers() -> Layers:
    """Layers by kernels where they are built and run here, else by torch."""
    kernels = fastest_kernels()
    return FusedLayers(kernels) if kernels else TorchLayers(FastestProducts())


class _UnfitError(Exception):
    """A layer that kernels.cpp is not made for."""


class _Block:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        hidden, channels = tensors["up"].shape
        _require(channels % (2 * kernels.lanes) == hidden % (2 * kernels.lanes) == 0 and channels <= _MOST_CHANNELS)
        _require(tensors["down"].shape == (channels, hidden))
        _require(float(tensors["least_power"]) >= _LEAST_POWER and int(tensors["up_exponent"].min()) >= 0)
        sums = NARROW * tensors["down"].abs().sum(1, dtype=torch.float64) * tensors["down_scale"].abs()
        _require(float((sums + tensors["down_bias"].abs()).max()) + WIDE < 1 << 31)
        moved = tensors["up"].sum(1, dtype=torch.int32) * kernels.moved
        bias = (shifted_bias(tensors).double() / halvings(tensors["up_exponent"])).floor().to(torch.int32) - moved
        self._filter = _Filter(tensors, kernels)
        self._kept = {
            "scale": _floats(kernels.in_pairs(tensors["scale"]), LMBDA_STEPS, channels),
            "up": kernels.narrow(_in_pairs(tensors["up"], kernels)),
            "up_bias": _integers(kernels.in_pairs(bias), LMBDA_STEPS, hidden),
            "up_shift": _integers(kernels.in_pairs(tensors["up_exponent"]), hidden),
            "down": kernels.narrow(_in_pairs(tensors["down"], kernels)),
            "down_scale": _floats(kernels.in_pairs(tensors["down_scale"].view(channels)), channels),
            "down_bias": _floats(kernels.in_pairs(tensors["down_bias"].view(channels)), channels),
        }
        self._kernels, self._channels = kernels, channels
        self._block = Block(self._filter.passed, hidden, float(tensors["least_power"]), **_addresses(self._kept))
        self._passed = ctypes.addressof(self._block)

    def __call__(self, f: Tensor, conditions: ExactConditions) -> Tensor:
        batch, height, width, channels = f.shape
        f, index = _features(f), conditions.index.expand(batch, -1, -1).contiguous()
        _check(channels == self._channels)
        cells, out = _map(index, height, width), torch.empty_like(f)
        addresses = (f.data_ptr(), out.data_ptr(), ctypes.addressof(cells))
        self._kernels.block(self._passed, *addresses, batch, height, width, threads_here())
        return out


class _Rows:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        self._kernels, self._linear = kernels, _Linear(tensors, kernels)
        _require(self._linear.inputs % kernels.lanes == 0)
        self._latents = len(tensors["weight"])

    def __call__(self, f: Tensor, table: Tensor, places: Tensor) -> Tensor:
        f, latents = _features(f), self._latents
        _check(f.shape[-1] == self._linear.inputs)
        table, step = _for_places(table, f.shape[0], places.shape[0], latents)
        out = torch.empty(f.shape[0], places.shape[0], latents, dtype=torch.uint8)
        where, count = _in_all(places, f.shape[:3]), out.shape[0] * out.shape[1]
        addresses = (self._linear.passed, f.data_ptr(), where.data_ptr(), table.data_ptr())
        self._kernels.rows(*addresses, step, latents, SCALE_STEPS - 1, out.data_ptr(), count, threads_here())
        return out


class _Tell:
    def __init__(self, tensors: Tensors, kernels: Kernels, first: int, channels: int) -> None:
        features = len(tensors["context"])
        self._kernels, self._back = kernels, _Linear(below(tensors, "back"), kernels)
        _require(self._back.outputs == features == len(tensors["back.weight"]) and 0 <= first <= features - channels)
        _require(tensors["context"].shape[1] == 2 * channels == 2 * tensors["back.weight"].shape[1])
        context = _filled(tensors["context"].int(), features, kernels.narrow_group)
        unit = halvings(tensors["context_exponent"])
        self._kept = {
            "context": kernels.narrow(context),
            "context_moved": context.sum(1, dtype=torch.int32) * kernels.moved,
            "context_scale": _floats(unit, features),
            "context_bias": _floats(tensors["context_bias"] * unit, features),
        }
        self._tell = Tell(
            self._back.linear, context.shape[1], residuals=channels, first=first, **_addresses(self._kept)
        )
        self._passed = ctypes.addressof(self._tell)

    def __call__(self, f: Tensor, steps: Tensor, unit: Tensor, places: Tensor) -> None:
        steps, channels = steps.contiguous(), steps.shape[-1]
        _check(f.dtype == _FEATURES and f.is_contiguous() and f.shape[-1] == self._back.outputs)
        _check(channels == self._tell.residuals and steps.shape[:2] == (f.shape[0], places.shape[0]))
        unit, step = _for_places(unit, f.shape[0], places.shape[0], channels)
        where, count = _in_all(places, f.shape[:3]), steps.shape[0] * steps.shape[1]
        addresses = (self._passed, f.data_ptr(), steps.data_ptr(), unit.data_ptr())
        self._kernels.tell(*addresses, step, where.data_ptr(), count, threads_here())


class _Double:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        self._kernels, self._linear = kernels, _Linear(tensors, kernels)
        outputs = self._linear.outputs
        _require(outputs == len(tensors["weight"]) and outputs % (4 * kernels.lanes) == 0)
        _require(self._linear.inputs % kernels.lanes == 0)
        self._bias = _floats(tensors["bias"], outputs)

    def __call__(self, f: Tensor) -> Tensor:
        f = _features(f)
        batch, height, width, channels = f.shape
        _check(channels == self._linear.inputs)
        out = torch.empty(batch, 2 * height, 2 * width, self._linear.outputs // 4, dtype=_FEATURES)
        addresses = (self._linear.passed, self._bias.data_ptr(), f.data_ptr(), out.data_ptr())
        self._kernels.double(*addresses, batch * height, width, threads_here())
        return out


class _Leave:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        self._kernels, self._linear = kernels, _Linear(tensors, kernels)
        _require(self._linear.outputs == len(tensors["weight"]) == _PATCH)
        _require(self._linear.inputs % kernels.lanes == 0)

    def __call__(self, f: Tensor) -> Tensor:
        f = _features(f)
        batch, height, width, channels = f.shape
        _check(channels == self._linear.inputs)
        out = torch.empty(batch, BLOCK * (height + 1), BLOCK * (width + 1))
        for one, result in zip(_each(f), _each(out), strict=True):
            self._kernels.leave(self._linear.passed, one, result, height, width, threads_here())
        return out


class _EncoderBlock(nn.Module):
    """`network.Block`, for which floats are summed in another order than torch's."""

    def __init__(self, block: network.Block, kernels: Kernels) -> None:
        super().__init__()
        hidden, channels = block.up.weight.shape
        _require(channels % kernels.lanes == hidden % kernels.lanes == 0)
        self._adapt, self._kernels, self._channels = block.adapt, kernels, channels
        assert block.depthwise.bias is not None
        self._filter = _RealFilter(block.depthwise.weight, block.depthwise.bias)
        self._kept = {
            "up": kernels.reals(block.up.weight),
            "up_bias": _floats(block.up.bias, hidden),
            "down": kernels.reals(block.down.weight),
            "down_bias": _floats(block.down.bias, channels),
        }
        self._block = EncoderBlock(self._filter.passed, hidden, **_addresses(self._kept))

    def forward(self, f: Tensor, conditions: Conditions) -> Tensor:
        batch, height, width, channels = f.shape
        scale, shift = self._adapt(conditions.embedding).expand(batch, -1, -1, -1).chunk(2, -1)
        table = torch.stack([1 + scale, shift], dim=-2)
        cells = torch.arange(table[..., 0, 0].numel()).view(table.shape[:3])
        _check(channels == self._channels == table.shape[-1])
        f, places = f.contiguous(), _map(cells, height, width)
        out = torch.empty_like(f)
        addresses = (f.data_ptr(), out.data_ptr(), table.data_ptr(), ctypes.addressof(places))
        self._kernels.encoder_block(ctypes.addressof(self._block), *addresses, batch, height, width, threads_here())
        return out


class _Enter(nn.Module):
    """`network.Enter`, for which floats are summed in another order than torch's."""

    def __init__(self, enter: network.Enter, kernels: Kernels) -> None:
        super().__init__()
        self._extended = enter.extended
        self._kernels, self._linear = kernels, _RealLinear(enter.weight.flatten(1), enter.bias, kernels)
        _require(self._linear.inputs == _PATCH)

    def forward(self, planes: Tensor) -> Tensor:
        padded = self._extended(planes).contiguous()
        batch, height, width = padded.shape
        _check(height % BLOCK == width % BLOCK == 0)
        places = (height // BLOCK - 1, width // BLOCK - 1)
        out = torch.empty(batch, *places, self._linear.outputs)
        for one, result in zip(_each(padded), _each(out), strict=True):
            self._kernels.enter(self._linear.passed, one, result, *places, threads_here())
        return out


class _Halve(nn.Module):
    """`network.Halve`, for which floats are summed in another order than torch's."""

    def __init__(self, halve: network.Halve, kernels: Kernels) -> None:
        super().__init__()
        self._kernels, self._linear = kernels, _RealLinear(halve.weight, halve.bias, kernels)

    def forward(self, f: Tensor) -> Tensor:
        f = f.contiguous()
        batch, height, width, channels = f.shape
        _check(4 * channels == self._linear.inputs and height % 2 == width % 2 == 0)
        out = torch.empty(batch, height // 2, width // 2, self._linear.outputs)
        for one, result in zip(_each(f), _each(out), strict=True):
            self._kernels.halve(self._linear.passed, one, result, height // 2, width // 2, threads_here())
        return out


class _Wanted:
    """A posterior less a mean, for which floats are summed in another order than torch's."""

    def __init__(self, posterior: network.Posterior, weight: Tensor, bias: Tensor, kernels: Kernels) -> None:
        width = posterior.posterior_down.weight.shape[1]
        _require(width % kernels.lanes == 0 and posterior.posterior_up.weight.shape == (width, 2 * width))
        self._kernels, self._channels, self._width = kernels, posterior.channels, width
        latents = -(-posterior.channels // kernels.lanes) * kernels.lanes
        self._kept = {
            "direct": kernels.reals(_filled(torch.cat([-weight, posterior.posterior.weight], 1), latents)),
            "direct_bias": _filled(posterior.posterior.bias - bias, latents),
            "up": kernels.reals(posterior.posterior_up.weight),
            "up_bias": _floats(posterior.posterior_up.bias, width),
            "down": kernels.reals(_filled(posterior.posterior_down.weight, latents)),
            "down_bias": _filled(posterior.posterior_down.bias, latents),
        }
        self._posterior = Posterior(width, latents, **_addresses(self._kept))

    def __call__(self, f: Tensor, h: Tensor, gain: Tensor, places: Tensor) -> Tensor:
        f, channels = _features(f), self._channels
        h = h.contiguous()
        _check(f.shape == h.shape and f.shape[-1] == self._width)
        gain, step = _for_places(gain, f.shape[0], places.shape[0], channels)
        out = torch.empty(f.shape[0], places.shape[0], channels)
        where, count = _in_all(places, f.shape[:3]), out.shape[0] * out.shape[1]
        addresses = (ctypes.addressof(self._posterior), f.data_ptr(), h.data_ptr(), gain.data_ptr())
        self._kernels.posterior(*addresses, step, where.data_ptr(), channels, out.data_ptr(), count, threads_here())
        return out


class _Rounding:
    def __init__(self, tables: Tables, price: float, kernels: Kernels) -> None:
        self._thresholds, self._kernels = thresholds(tables, price), kernels

    def __call__(self, steps: Tensor, rows: Tensor) -> Tensor:
        steps, rows, table = steps.contiguous(), rows.contiguous(), self._thresholds
        _check(steps.shape == rows.shape and int(rows.max() if rows.numel() else 0) < len(table))
        out, count = torch.empty_like(steps), steps.numel()
        addresses = (tensor.data_ptr() for tensor in (steps, rows, table))
        self._kernels.round(*addresses, MAGNITUDES, SYMBOL_LIMIT, out.data_ptr(), count, threads_here())
        return out


class _Filter:
    """A block's depthwise filter: for each two rows around a band, the factors by which both its rows take them."""

    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        channels = len(tensors["depthwise"])
        _require(tensors["depthwise"].shape == (channels, 1, _SIDE, _SIDE))
        around = torch.zeros(_BAND, _SIDE + 1, _SIDE, channels, dtype=torch.int16)
        for row in range(_BAND):
            around[row, row : row + _SIDE] = tensors["depthwise"][:, 0].permute(1, 2, 0)
        pairs = kernels.in_pairs(around).view(_BAND, -1, 2, _SIDE, channels).permute(1, 0, 3, 4, 2).contiguous()
        self._kept = {
            "factors": pairs,
            "bias": _integers(kernels.in_pairs(tensors["depthwise_bias"]), channels),
            "unit": _floats(kernels.in_pairs(halvings(tensors["depthwise_exponent"])), channels),
        }
        self.passed = Filter(channels, **_addresses(self._kept))


class _RealFilter:
    """A depthwise filter, `(C, 1, 5, 5)` and `(C)`."""

    def __init__(self, factors: Tensor, bias: Tensor) -> None:
        channels = len(factors)
        _require(factors.shape == (channels, 1, _SIDE, _SIDE))
        self._kept = {
            "factors": _floats(factors.view(channels, _SIDE**2).T, _SIDE**2, channels),
            "bias": _floats(bias, channels),
        }
        self.passed = RealFilter(channels, **_addresses(self._kept))


class _RealLinear:
    """Products of floats, and a bias."""

    def __init__(self, weight: Tensor, bias: Tensor, kernels: Kernels) -> None:
        self.outputs, self.inputs = weight.shape
        _require(self.outputs % kernels.lanes == 0)
        self._kept = {"weights": kernels.reals(weight), "bias": _floats(bias, self.outputs)}
        self._linear = RealLinear(self.inputs, self.outputs, **_addresses(self._kept))
        self.passed = ctypes.addressof(self._linear)


class _Linear:
    """Products of wide integers, times a scale."""

    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        weights = tensors["weight"].int()
        _require(int(weights.abs().sum(1, dtype=torch.int64).max()) * WIDE < 1 << 31)
        outputs = -(-len(weights) // kernels.lanes) * kernels.lanes
        filled = _filled(weights, outputs, kernels.wide_group)
        scale = torch.zeros(outputs)
        scale[: len(weights)] = tensors["scale"].view(len(weights))
        self.inputs, self.outputs = filled.shape[1], outputs
        self._kept = {"weights": kernels.wide(filled), "scale": scale}
        self.linear = Linear(self.inputs, outputs, **_addresses(self._kept))
        self.passed = ctypes.addressof(self.linear)


def _filled(weights: Tensor, outputs: int, group: int = 1) -> Tensor:
    """Weights `(N, K)`, or a bias `(N)`, with zeros for more outputs, and for inputs up to a multiple of `group`."""
    inputs = [-(-side // group) * group for side in weights.shape[1:]]
    filled = weights.new_zeros(outputs, *inputs)
    filled[(slice(len(weights)), *(slice(side) for side in weights.shape[1:]))] = weights
    return filled


def _in_pairs(weights: Tensor, kernels: Kernels) -> Tensor:
    """Weights `(N, K)` whose outputs come in pairs."""
    return kernels.in_pairs(weights.T.contiguous()).T


def _features(f: Tensor) -> Tensor:
    return f.to(_FEATURES).contiguous()


def _integers(values: Tensor, *shape: int) -> Tensor:
    """Int32; see `_floats`."""
    _require(values.numel() == torch.Size(shape).numel())
    return values.to(torch.int32).contiguous()


def _floats(values: Tensor, *shape: int) -> Tensor:
    """Float32, in this order in memory, and so many that nothing is read beyond their end."""
    _require(values.numel() == torch.Size(shape).numel())
    return values.float().contiguous()


def _addresses(tensors: dict[str, Tensor]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


def _map(index: Tensor, height: int, width: int) -> Map:
    """Where features of this size look up `index`, `(B, h, w)`, which the caller keeps."""
    down, across = index.shape[1:]
    return Map(index.data_ptr(), down * across, across, cell_side(height, down), cell_side(width, across))


def _each(tensor: Tensor) -> list[int]:
    """The addresses of a contiguous tensor's pictures."""
    return [tensor.data_ptr() + n * tensor.stride(0) * tensor.element_size() for n in range(tensor.shape[0])]


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _in_all(places: Tensor, shape: torch.Size) -> Tensor:
    """Places, `(N,)`, of pictures `(B, H, W)`, counted through all of them, `(B * N,)`."""
    pictures, height, width = shape
    return (places + torch.arange(pictures)[:, None] * (height * width)).flatten()


def _for_places(table: Tensor, pictures: int, places: int, channels: int) -> tuple[Tensor, int]:
    """`(B or 1, N or 1, C)` as one row for all places, or one for each, and how many numbers lie between two."""
    _check(table.shape[0] in (1, pictures) and table.shape[1] in (1, places) and table.shape[2] == channels)
    if table.shape[:2] == (1, 1):
        return table.contiguous(), 0
    return table.expand(pictures, places, channels).contiguous(), channels


def _require(fits: bool) -> None:
    if not fits:
        raise _UnfitError


def _check(fits: bool) -> None:
    """What is passed to kernels.cpp is read and written there without asking."""
    if not fits:
        raise ValueError("tensors of other sizes than the layer's")
