"""The layers of the exact network, by torch: integers in float32, on any device. See exact.py for what they are for.

Of what is given to them, tensors are those of a layer in a weight file by their names there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inspect_compress.images import Image
from inspect_compress.qarv import network
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.network import Conditions, overlap_add, scatter, take
from inspect_compress.qarv.planes import Planes, from_planes
from inspect_compress.qarv.products import NARROW, WIDE, Products, halvings, shifted_bias
from inspect_compress.qarv.range_coder import Coder, ConstrictionCoder, Tables
from inspect_compress.qarv.rounding import Rounder, Rounding
from inspect_compress.qarv.strips import by_strips, in_strips, rows_of, with_halo

STRENGTH_LIMIT = 4
"""Residuals tell how busy a place is up to this many steps."""

_POSITIONS = 2048
"""Positions in a strip at most. Integers come out the same with any number."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class ExactConditions:
    """The index of λ, int64, `(B, 1, 1)` or a map `(B, H / 32, W / 32)`, and λ itself, shaped alike."""

    index: Tensor
    lmbda: Tensor

    def spread(self, table: Tensor, height: int, width: int) -> Tensor:
        """Rows of a table, `(256, C)`, for the positions of a stride: `(B or 1, height or 1, width or 1, C)`."""
        if self._everywhere is not None:
            return table.narrow(0, self._everywhere, 1)[None, None]
        return Conditions.spread(table[self.index], height, width)

    @cached_property
    def _everywhere(self) -> int | None:
        """The index, where it is the same for all positions of all pictures because it is given only once."""
        once = self.index.shape[1:] == (1, 1) and (self.index.shape[0] == 1 or self.index.stride(0) == 0)
        return int(self.index[0]) if once else None


BlockLayer = Callable[[Tensor, ExactConditions], Tensor]
"""Features `(B, H, W, C)` to such."""
RowsLayer = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Features, what is added for each latent, `(B or 1, 1 or N, Z)`, and N places: to rows of the probability tables,
uint8 `(B, N, Z)`."""
TellLayer = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""Adds to features, in place, what residuals, `(B, N, Z)`, say at N places; each is `(B or 1, 1 or N, Z)` units."""
FeaturesLayer = Callable[[Tensor], Tensor]
"""Features `(B, H, W, C)` to those of the next finer stride, `(B, 2 H, 2 W, C')`; or to the sum of their patches,
`(B, 8 (H + 1), 8 (W + 1))`, in fractions of a grey level."""


WantedLayer = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The decoder's and the encoder's features, quantization steps per unit, `(B or 1, 1 or N, Z)`, and N places: to the
residual that the encoder wants of the latents, in steps, `(B, N, Z)`."""


class Layers(Protocol):
    """Makes the layers, of their tensors. All ways of computing them give the same integers."""

    def block(self, tensors: Tensors) -> BlockLayer:
        """A depthwise convolution, AdaLN by λ, and a two-layer perceptron; adds to its input."""
        ...

    def rows(self, tensors: Tensors) -> RowsLayer:
        """What predicts how far latents spread."""
        ...

    def tell(self, tensors: Tensors, first: int, channels: int) -> TellLayer:
        """What takes in residuals of `channels` channels, of which `first` is the first among the features."""
        ...

    def double(self, tensors: Tensors) -> FeaturesLayer:
        """From one stride to the next finer one."""
        ...

    def leave(self, tensors: Tensors) -> FeaturesLayer:
        """The lapped synthesis."""
        ...

    def encoder_block(self, block: network.Block) -> nn.Module:
        """What computes as a block of the bottom-up path; in floats."""
        ...

    def enter(self, enter: network.Enter) -> nn.Module:
        """What computes as the lapped analysis; in floats."""
        ...

    def halve(self, halve: network.Halve) -> nn.Module:
        """What computes as a step of the bottom-up path to the next coarser stride; in floats."""
        ...

    def wanted(self, posterior: network.Posterior, weight: Tensor, bias: Tensor) -> WantedLayer:
        """A posterior less the prior's mean, which is a linear layer of the decoder's features; in floats."""
        ...

    def rounding(self, tables: Tables, price: float) -> Rounder:
        """What the encoder rounds residuals with."""
        ...

    def coder(self, tables: Tables) -> Coder:
        """The entropy coder that is used with these layers."""
        ...

    def picture(self, parts: Sequence[Planes]) -> Image:
        """See `planes.from_planes`."""
        ...


class TorchLayers:
    """Layers of torch's operations, with products computed in a way of choice."""

    def __init__(self, products: Products) -> None:
        self._products = products

    def block(self, tensors: Tensors) -> BlockLayer:
        return _Block(tensors, self._products)

    def rows(self, tensors: Tensors) -> RowsLayer:
        return _Rows(tensors, self._products)

    def tell(self, tensors: Tensors, first: int, channels: int) -> TellLayer:
        return _Tell(tensors, self._products, slice(first, first + channels))

    def double(self, tensors: Tensors) -> FeaturesLayer:
        return _Double(tensors, self._products)

    def leave(self, tensors: Tensors) -> FeaturesLayer:
        return _Leave(tensors, self._products)

    def encoder_block(self, block: network.Block) -> nn.Module:
        return block

    def enter(self, enter: network.Enter) -> nn.Module:
        return enter

    def halve(self, halve: network.Halve) -> nn.Module:
        return halve

    def wanted(self, posterior: network.Posterior, weight: Tensor, bias: Tensor) -> WantedLayer:
        def residual(f: Tensor, h: Tensor, gain: Tensor, places: Tensor) -> Tensor:
            wanted = posterior.wanted(f, h, places)

            def part(start: int, stop: int) -> Tensor:
                mean = F.linear(take(f, places[start:stop]), weight, bias)
                return (wanted[:, start:stop] - mean) * rows_of(gain, start, stop)

            return by_strips(part, f, len(places), 1, len(bias))

        return residual

    def rounding(self, tables: Tables, price: float) -> Rounder:
        return Rounding(tables, price=price)

    def coder(self, tables: Tables) -> Coder:
        return ConstrictionCoder(tables)

    def picture(self, parts: Sequence[Planes]) -> Image:
        return from_planes(parts)


class _Block:
    def __init__(self, tensors: Tensors, products: Products) -> None:
        unit = halvings(tensors["depthwise_exponent"])
        self._filters = tensors["depthwise"] * unit[:, None, None, None]
        self._filter_bias = tensors["depthwise_bias"] * unit
        self._halo = self._filters.shape[-1] // 2
        self._least_power = float(tensors["least_power"])
        self._scale = tensors["scale"].float()
        self._up = products.halved(tensors["up"], tensors["up_exponent"])
        self._down = products.narrow(tensors["down"])
        self._down_scale, self._down_bias = tensors["down_scale"], tensors["down_bias"]
        self._up_bias = shifted_bias(tensors)

    def __call__(self, f: Tensor, conditions: ExactConditions) -> Tensor:
        scale = conditions.spread(self._scale, *f.shape[1:3])
        bias = conditions.spread(self._up_bias, *f.shape[1:3])
        bias = bias[0, 0, 0] if bias.shape[:3] == (1, 1, 1) else bias

        def rows(start: int, stop: int) -> Tensor:
            h = self._normalised(with_halo(f, start, stop, self._halo))
            h = h.mul_(rows_of(scale, start, stop)).round_().clamp_(-NARROW, NARROW)
            hidden = self._up(h, bias if bias.dim() == 1 else rows_of(bias, start, stop)).clamp_(0, NARROW)
            out = self._down(hidden).mul_(self._down_scale).add_(self._down_bias)
            return out.add_(f[:, start:stop]).round_().clamp_(-WIDE, WIDE)

        return by_strips(rows, f, *f.shape[1:3], *f.shape[2:], most=_POSITIONS)

    def _normalised(self, around: Tensor) -> Tensor:
        """Filtered, less the mean over channels, over their standard deviation; both are those of rounded values."""
        y = F.conv2d(
            around.permute(0, 3, 1, 2),
            self._filters,
            self._filter_bias,
            padding=(0, self._halo),
            groups=len(self._filters),
        ).permute(0, 2, 3, 1)
        rounded, part = y.round(), 1 / y.shape[-1]
        mean = rounded.sum(-1, keepdim=True).double() * part
        power = rounded.square_().sum(-1, keepdim=True, dtype=torch.float64) * part
        inverse = _inverse_root(power - mean * mean + self._least_power)
        return y.sub_(mean.float()).mul_(inverse)


def _inverse_root(x: Tensor) -> Tensor:
    """1 / √x, float64 to float32. On a CPU by numpy, whose √ is correctly rounded; torch's there is not."""
    if x.device.type == "cpu":
        return torch.from_numpy((1 / np.sqrt(x.numpy())).astype(np.float32))
    return x.sqrt().reciprocal().float()


class _Rows:
    def __init__(self, tensors: Tensors, products: Products) -> None:
        self._linear = _Scaled(tensors, products)

    def __call__(self, f: Tensor, table: Tensor, places: Tensor) -> Tensor:
        def part(start: int, stop: int) -> Tensor:
            row = self._linear(take(f, places[start:stop])).add_(rows_of(table, start, stop))
            return row.round_().clamp_(0, SCALE_STEPS - 1).to(torch.uint8)

        like = torch.empty(len(f), dtype=torch.uint8, device=f.device)
        return by_strips(part, like, len(places), 1, self._linear.outputs, most=_POSITIONS)


class _Tell:
    def __init__(self, tensors: Tensors, products: Products, channels: slice) -> None:
        self._channels = channels
        self._back = _Scaled(below(tensors, "back"), products)
        self._context = products.halved(tensors["context"], tensors["context_exponent"])
        self._bias = tensors["context_bias"] * halvings(tensors["context_exponent"])

    def __call__(self, f: Tensor, steps: Tensor, unit: Tensor, places: Tensor) -> None:
        def part(start: int, stop: int) -> None:
            said, here = steps[:, start:stop], places[start:stop]
            values = (said * rows_of(unit, start, stop)).round_().clamp_(-WIDE, WIDE)
            strength = said.clamp(-STRENGTH_LIMIT, STRENGTH_LIMIT)
            strength = torch.cat([strength, strength.abs()], dim=-1)
            told = self._back(values).add_(self._context(strength, self._bias))
            told[..., self._channels] += values
            told = told.add_(take(f, here)).round_().clamp_(-WIDE, WIDE)
            f.flatten(1, 2).index_copy_(1, here, told)

        in_strips(part, len(places), len(f), _POSITIONS)


class _Double:
    def __init__(self, tensors: Tensors, products: Products) -> None:
        self._linear = _Scaled(tensors, products)
        self._bias = tensors["bias"]

    def __call__(self, f: Tensor) -> Tensor:
        def rows(start: int, stop: int) -> Tensor:
            return self._linear(f[:, start:stop]).add_(self._bias).round_().clamp_(-WIDE, WIDE)

        return scatter(by_strips(rows, f, *f.shape[1:3], f.shape[2], self._linear.outputs, most=_POSITIONS))


class _Leave:
    def __init__(self, tensors: Tensors, products: Products) -> None:
        self._linear = _Scaled(tensors, products)

    def __call__(self, f: Tensor) -> Tensor:
        return overlap_add(f, lambda around: self._linear(around).round_())


class _Scaled:
    """A linear layer for wide integers: integer weights, `(N, K)`, the sums of each row times a scale."""

    def __init__(self, tensors: Tensors, products: Products) -> None:
        self.outputs = len(tensors["weight"])
        self._multiply = products.wide(tensors["weight"])
        self._scale = tensors["scale"]

    def __call__(self, x: Tensor) -> Tensor:
        return self._multiply(x).mul_(self._scale)


def below(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix and a dot, by the rest of their names."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}
