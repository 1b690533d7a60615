"""The layers of the exact network in one pass over the features each, by kernels.cpp: the integers of layers.py.

A layer that is not of the sizes that kernels.cpp is made for, or whose sums could leave 32 bits, is left to torch.
"""

import ctypes
from contextlib import suppress

import torch
from torch import Tensor

from inspect_compress.qarv.kernels import Block, Kernels, Linear, Map, Tell, fastest_kernels
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
    below,
)
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.network import LMBDA_STEPS
from inspect_compress.qarv.products import WIDE, FastestProducts, halvings, shifted_bias
from inspect_compress.qarv.strips import in_strips

_POSITIONS = 2048
"""Positions in a strip at most: for threads to share; memory does not depend on it."""
_TAPS = 5 * 5
_PATCH = 16 * 16


class FusedLayers:
    """Layers by kernels, on a CPU."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._others = TorchLayers(FastestProducts())

    def block(self, tensors: Tensors) -> BlockLayer:
        with suppress(_UnfitError):
            return _Block(tensors, self._kernels)
        return self._others.block(tensors)

    def rows(self, tensors: Tensors) -> RowsLayer:
        with suppress(_UnfitError):
            return _Rows(tensors, self._kernels)
        return self._others.rows(tensors)

    def tell(self, tensors: Tensors, first: int, channels: int) -> TellLayer:
        with suppress(_UnfitError):
            return _Tell(tensors, self._kernels, first, channels)
        return self._others.tell(tensors, first, channels)

    def double(self, tensors: Tensors) -> FeaturesLayer:
        with suppress(_UnfitError):
            return _Double(tensors, self._kernels)
        return self._others.double(tensors)

    def leave(self, tensors: Tensors) -> FeaturesLayer:
        with suppress(_UnfitError):
            return _Leave(tensors, self._kernels)
        return self._others.leave(tensors)


def fastest_layers() -> Layers:
    """Layers by kernels where they are built and run here, else by torch."""
    kernels = fastest_kernels()
    return FusedLayers(kernels) if kernels else TorchLayers(FastestProducts())


class _UnfitError(Exception):
    """A layer that kernels.cpp is not made for."""


class _Block:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        hidden, channels = tensors["up"].shape
        _require(
            channels % kernels.lanes == hidden % kernels.lanes == 0 and tensors["down"].shape == (channels, hidden)
        )
        _require(tensors["depthwise"].numel() == channels * _TAPS)
        unit = halvings(tensors["depthwise_exponent"])
        filters = tensors["depthwise"].view(channels, _TAPS) * unit[:, None]
        up_moved = tensors["up"].sum(1, dtype=torch.int32) * kernels.moved
        self._kept = {
            "filters": _floats(filters.T, _TAPS, channels),
            "filter_bias": _floats(tensors["depthwise_bias"] * unit, channels),
            "scale": _floats(tensors["scale"], LMBDA_STEPS, channels),
            "up": kernels.narrow(tensors["up"]),
            "up_moved": up_moved,
            "up_scale": _floats(halvings(tensors["up_exponent"]), hidden),
            "up_bias": _floats(shifted_bias(tensors), LMBDA_STEPS, hidden),
            "down": kernels.narrow(tensors["down"]),
            "down_scale": _floats(tensors["down_scale"], channels),
            "down_bias": _floats(tensors["down_bias"], channels),
        }
        self._kernels = kernels
        self._block = Block(channels, hidden, float(tensors["least_power"]), **_addresses(self._kept))
        self._passed = ctypes.addressof(self._block)

    def __call__(self, f: Tensor, conditions: ExactConditions) -> Tensor:
        batch, height, width, channels = f.shape
        f, index = f.contiguous(), conditions.index.expand(batch, -1, -1).contiguous()
        down, across = index.shape[1:]
        _check(channels == self._block.channels and height % down == width % across == 0)
        maps = [Map(cells, across, height // down, width // across) for cells in _each(index)]
        out = torch.empty_like(f)
        pictures = list(zip(_each(f), _each(out), map(ctypes.addressof, maps), strict=True))

        def rows(start: int, stop: int) -> None:
            for one, result, cells in pictures:
                self._kernels.block(self._passed, one, result, cells, height, width, start, stop)

        in_strips(rows, height, batch * width, _POSITIONS)
        return out


class _Rows:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        self._kernels, self._linear = kernels, _Linear(tensors, kernels)
        _require(self._linear.inputs % kernels.lanes == 0)
        self._latents = len(tensors["weight"])

    def __call__(self, f: Tensor, table: Tensor, places: Tensor) -> Tensor:
        f, table, places, latents = f.contiguous(), table.contiguous(), places.contiguous(), self._latents
        _check(f.shape[-1] == self._linear.inputs and _is_for(table, len(f), len(places), latents))
        out = torch.empty(len(f), len(places), latents, dtype=torch.uint8)
        step, layer, where = latents if table.shape[1] > 1 else 0, self._linear.passed, places.data_ptr()
        pictures = list(zip(_each(f), _each(table, len(f)), _each(out), strict=True))

        def part(start: int, stop: int) -> None:
            for one, added, result in pictures:
                self._kernels.rows(layer, one, where, added, step, latents, SCALE_STEPS - 1, result, start, stop)

        in_strips(part, len(places), len(f), _POSITIONS)
        return out


class _Tell:
    def __init__(self, tensors: Tensors, kernels: Kernels, first: int, channels: int) -> None:
        features = len(tensors["context"])
        self._kernels, self._back = kernels, _Linear(below(tensors, "back"), kernels)
        _require(self._back.outputs == features == len(tensors["back.weight"]) and 0 <= first <= features - channels)
        _require(tensors["context"].shape[1] == 2 * channels == 2 * tensors["back.weight"].shape[1])
        context = _filled(tensors["context"], features, kernels.narrow_group)
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
        steps, unit, places, channels = steps.contiguous(), unit.contiguous(), places.contiguous(), steps.shape[-1]
        _check(f.is_contiguous() and f.shape[-1] == self._back.outputs)
        _check(channels == self._tell.residuals and steps.shape[:2] == (len(f), len(places)))
        _check(_is_for(unit, len(f), len(places), channels))
        step, where = channels if unit.shape[1] > 1 else 0, places.data_ptr()
        pictures = list(zip(_each(f), _each(steps), _each(unit, len(f)), strict=True))

        def part(start: int, stop: int) -> None:
            for one, said, units in pictures:
                self._kernels.tell(self._passed, one, said, units, step, where, start, stop)

        in_strips(part, len(places), len(f), _POSITIONS)


class _Double:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        self._kernels, self._linear = kernels, _Linear(tensors, kernels)
        outputs = self._linear.outputs
        _require(outputs == len(tensors["weight"]) and outputs % (4 * kernels.lanes) == 0)
        _require(self._linear.inputs % kernels.lanes == 0)
        self._bias = _floats(tensors["bias"], outputs)

    def __call__(self, f: Tensor) -> Tensor:
        f = f.contiguous()
        batch, height, width, channels = f.shape
        _check(channels == self._linear.inputs)
        out = torch.empty(batch, 2 * height, 2 * width, self._linear.outputs // 4)

        bias, pictures = self._bias.data_ptr(), list(zip(_each(f), _each(out), strict=True))

        def rows(start: int, stop: int) -> None:
            for one, result in pictures:
                self._kernels.double(self._linear.passed, bias, one, result, width, start, stop)

        in_strips(rows, height, batch * width, _POSITIONS)
        return out


class _Leave:
    def __init__(self, tensors: Tensors, kernels: Kernels) -> None:
        self._kernels, self._linear = kernels, _Linear(tensors, kernels)
        _require(self._linear.outputs == len(tensors["weight"]) == _PATCH)
        _require(self._linear.inputs % kernels.lanes == 0)

    def __call__(self, f: Tensor) -> Tensor:
        f = f.contiguous()
        batch, height, width, channels = f.shape
        _check(channels == self._linear.inputs)
        out = torch.empty(batch, BLOCK * (height + 1), BLOCK * (width + 1))

        pictures = list(zip(_each(f), _each(out), strict=True))

        def rows(start: int, stop: int) -> None:
            for one, result in pictures:
                self._kernels.leave(self._linear.passed, one, result, height, width, start, stop)

        in_strips(rows, height + 1, batch * width, _POSITIONS)
        return out


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


def _filled(weights: Tensor, outputs: int, group: int) -> Tensor:
    """Weights `(N, K)` with zeros for further outputs, and for inputs up to a multiple of `group`."""
    filled = torch.zeros(outputs, -(-weights.shape[1] // group) * group, dtype=torch.int32)
    filled[: len(weights), : weights.shape[1]] = weights
    return filled


def _floats(values: Tensor, *shape: int) -> Tensor:
    """Float32, in this order in memory, and so many that nothing is read beyond their end."""
    _require(values.numel() == torch.Size(shape).numel())
    return values.float().contiguous()


def _addresses(tensors: dict[str, Tensor]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


def _each(tensor: Tensor, count: int | None = None) -> list[int]:
    """The addresses of a contiguous tensor's pictures; `count` times the same where it has one for all."""
    step = tensor.stride(0) * tensor.element_size() if len(tensor) > 1 else 0
    return [tensor.data_ptr() + number * step for number in range(count or len(tensor))]


def _is_for(table: Tensor, pictures: int, places: int, channels: int) -> bool:
    """Whether there is a row for each place of each picture, or one for all."""
    return len(table) in (1, pictures) and table.shape[1] in (1, places) and table.shape[2] == channels


def _require(fits: bool) -> None:
    if not fits:
        raise _UnfitError


def _check(fits: bool) -> None:
    """What is passed to kernels.cpp is read and written there without asking."""
    if not fits:
        raise ValueError("tensors of other sizes than the layer's")
