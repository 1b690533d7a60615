"""The top-down path as files are made and read with it: integers throughout, so every machine decodes alike.

Features, weights and everything that is summed are integers held in float32; every sum stays under 2^24 in size,
where float32 is exact whatever the order (training/export.py proves it from the weights). Between the sums stand
single elementwise operations, each correctly rounded by IEEE 754: multiply, add, divide, square root, round half to
even, clamp. λ enters through tables, one row for each of its 256 steps. docs/format.md states every operation,
docs/exactness.md argues why that is enough.

The bottom-up path and the posterior are ordinary floats: only an encoder needs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.network import (
    LMBDA_STEPS,
    MARGIN,
    Conditions,
    Encoder,
    Posterior,
    Shape,
    at_places,
    checkerboard,
    overlap_add,
    scatter,
    take,
)
from inspect_compress.qarv.products import NARROW, WIDE, FastestProducts, Products, halvings
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.strips import by_strips, in_strips, rows_of, with_halo

FRACTION_BITS = {32: 9, 16: 10, 8: 11}
"""A feature's integer is its value times two to this power, at each stride; wide integers (see products.py)."""
SHIFT_FRACTIONS = 64
"""Integers that a step of the perceptron's input is divided into, where λ shifts it."""
GREY_FRACTIONS = 256
"""Integers that a grey level is divided into, where patches overlap."""
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
        """Rows of a table, `(256, C)`, for the positions of a stride: `(B, height or 1, width or 1, C)`."""
        return Conditions.spread(table[self.index], height, width)


@dataclass(frozen=True)
class ExactPrediction:
    """What is known of latents at N places before they are read.

    `places`, int64 `(N,)`, are counted row by row; `rows`, uint8 `(B, N, Z)`, are those of the probability tables. An
    encoder also has the prior's `mean`, in units of the features, and the `gain`, in quantization steps per unit,
    `(B, 1 or N, Z)`.
    """

    stride: int
    places: Tensor
    rows: Tensor
    mean: Tensor | None
    gain: Tensor


class ExactExchange(Protocol):
    """Gives the residuals of latents, integers in float32, `(B, N, Z)`."""

    def __call__(self, prediction: ExactPrediction, latent: Tensor | None) -> Tensor: ...


class ExactNetwork:
    """A network as `training/export.py` makes it. Planes are `(B, 1, H, W)`, H and W multiples of 32."""

    def __init__(self, shape: Shape, tensors: Tensors, products: Products | None = None) -> None:
        self.shape = shape
        products = products or FastestProducts()
        self.encoder = Encoder(shape)
        self.encoder.load_state_dict(below(tensors, "encoder"))
        self.encoder.requires_grad_(False).eval()
        self._halved_steps = int(tensors["halved_steps"])
        self._start = tensors["start"].float()
        self._levels = [
            [
                _ExactLatent(stride, first, last, below(tensors, f"latents_{stride}.{number}"), products)
                for number, (first, last) in enumerate(pairwise(shape.groups(stride)))
            ]
            for stride in STRIDES
        ]
        self._doubles = [_Double(below(tensors, f"double_{stride}"), products) for stride in STRIDES[1:]]
        self._out = [_ExactBlock(below(tensors, f"out.{number}"), products) for number in range(shape.out_blocks)]
        self._leave = _Scaled(below(tensors, "leave"), products)
        self._grey_bias = tensors["leave.bias"]

    def at(self, index: Tensor, count: int, *, halved: bool) -> ExactConditions:
        """The conditions of `count` planes at indexes of λ; halved planes have the λ that is about four times it."""
        if halved:
            index = (index + self._halved_steps).clamp_max(LMBDA_STEPS - 1)
        index = index.expand(count, -1, -1)
        return ExactConditions(index, torch.tensor(self.shape.lmbdas())[index])

    def bottom_up(self, planes: Tensor, conditions: ExactConditions) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's features at strides 32, 16 and 8: floats, in units."""
        return self.encoder.bottom_up(planes, self.encoder.conditions(conditions.lmbda))

    def top_down(
        self,
        size: tuple[int, int],
        conditions: ExactConditions,
        exchange: ExactExchange,
        encoder: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Exchange all latents of planes of `size` pixels and return the features that `render` makes planes of.

        `encoder` is what `bottom_up` returned; a decoder has None.
        """
        f = self._start.expand(len(conditions.index), size[0] // 32, size[1] // 32, -1)
        for level, latents in enumerate(self._levels):
            if level:
                f = scatter(self._doubles[level - 1](f))
            for latent in latents:
                for parity in (0, 1):
                    for block in latent.blocks[parity::2]:
                        f = block(f, conditions)
                    latent.code(parity, f, encoder[level] if encoder else None, conditions, exchange)
        return f

    def render(self, f: Tensor, conditions: ExactConditions) -> Tensor:
        """The planes `(B, 1, H, W)` that the features of stride 8 stand for, samples in about [0, 1]."""
        for block in self._out:
            f = block(f, conditions)
        planes = overlap_add(f, lambda around: self._leave(around).round_())
        planes = planes[:, None, MARGIN:-MARGIN, MARGIN:-MARGIN] + self._grey_bias
        return planes * (1 / (255 * GREY_FRACTIONS))


class _ExactBlock:
    """Depthwise convolution, AdaLN by λ, and a two-layer perceptron; adds to its input."""

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


def shifted_bias(tensors: Tensors) -> Tensor:
    """The bias of a block's first perceptron layer with λ's shift taken through it, `(256, 2 C)`; ½ to round by."""
    shift = tensors["shift"].double() @ tensors["up"].double().T
    bias = (shift * (1 / SHIFT_FRACTIONS)).round() + tensors["up_bias"]
    return (bias * halvings(tensors["up_exponent"]) + 0.5).float()


class _ExactLatent:
    """A group of latent channels at one stride: first the even squares of a checkerboard, then the odd."""

    def __init__(self, stride: int, first: int, last: int, tensors: Tensors, products: Products) -> None:
        self._stride = stride
        self._channels = slice(first, last)
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        self.blocks = [_ExactBlock(below(tensors, f"blocks.{number}"), products) for number in range(blocks)]
        self._row = [_Scaled(below(tensors, f"row.{parity}"), products) for parity in (0, 1)]
        self._row_table = [tensors[f"row_table.{parity}"] for parity in (0, 1)]
        self._step, self._gain = tensors["step"], tensors["gain"]
        self._back = _Scaled(below(tensors, "back"), products)
        self._context = products.halved(tensors["context"], tensors["context_exponent"])
        self._told_bias = tensors["context_bias"] * halvings(tensors["context_exponent"])
        width, channels, unit = self._back.outputs, last - first, 2.0 ** -FRACTION_BITS[stride]
        self._mean = [(tensors[f"mean.{p}.weight"].float() * unit, tensors[f"mean.{p}.bias"].float()) for p in (0, 1)]
        self._posterior = Posterior(width, channels)
        self._posterior.load_state_dict(below(tensors, "encoder"))
        self._posterior.requires_grad_(False).eval()
        self._posterior.posterior_up.weight[:, :width] *= unit

    def code(
        self, parity: int, f: Tensor, h: Tensor | None, conditions: ExactConditions, exchange: ExactExchange
    ) -> None:
        """Code the latents on the even (0) or odd (1) squares, and add to `f`, in place, what they say there.

        `h` is the encoder's side, None in a decoder.
        """
        places = checkerboard(f.shape[1], f.shape[2], f.device)[parity]
        gain, step, table = (
            at_places(conditions.spread(values, f.shape[1], f.shape[2]), places)
            for values in (self._gain, self._step, self._row_table[parity])
        )
        rows = self._rows(parity, f, table, places)
        if h is None:
            steps = exchange(ExactPrediction(self._stride, places, rows, None, gain), None)
        else:
            prediction = ExactPrediction(self._stride, places, rows, self._means(parity, f, places), gain)
            steps = exchange(prediction, self._posterior.wanted(f, h, places))
        self._tell(f, steps, step, places)

    def _rows(self, parity: int, f: Tensor, table: Tensor, places: Tensor) -> Tensor:
        def part(start: int, stop: int) -> Tensor:
            row = self._row[parity](take(f, places[start:stop])).add_(rows_of(table, start, stop))
            return row.round_().clamp_(0, SCALE_STEPS - 1).to(torch.uint8)

        like = torch.empty(len(f), dtype=torch.uint8, device=f.device)
        return by_strips(part, like, len(places), 1, self._row[parity].outputs, most=_POSITIONS)

    def _means(self, parity: int, f: Tensor, places: Tensor) -> Tensor:
        def part(start: int, stop: int) -> Tensor:
            return F.linear(take(f, places[start:stop]), *self._mean[parity])

        return by_strips(part, f, len(places), 1, self._row[parity].outputs, most=_POSITIONS)

    def _tell(self, f: Tensor, steps: Tensor, step: Tensor, places: Tensor) -> None:
        """Add to the features at N places what the residuals, `(B, N, Z)`, say."""

        def part(start: int, stop: int) -> None:
            said, here = steps[:, start:stop], places[start:stop]
            values = (said * rows_of(step, start, stop)).round_().clamp_(-WIDE, WIDE)
            strength = said.clamp(-STRENGTH_LIMIT, STRENGTH_LIMIT)
            strength = torch.cat([strength, strength.abs()], dim=-1)
            told = self._back(values).add_(self._context(strength, self._told_bias))
            told[..., self._channels] += values
            told = told.add_(take(f, here)).round_().clamp_(-WIDE, WIDE)
            f.flatten(1, 2).index_copy_(1, here, told)

        in_strips(part, len(places), len(f), _POSITIONS)


class _Scaled:
    """A linear layer for wide integers: integer weights, `(N, K)`, the sums of each row times a scale."""

    def __init__(self, tensors: Tensors, products: Products) -> None:
        self.outputs = len(tensors["weight"])
        self._multiply = products.wide(tensors["weight"])
        self._scale = tensors["scale"]

    def __call__(self, x: Tensor) -> Tensor:
        return self._multiply(x).mul_(self._scale)


class _Double:
    """Features to those of four places of the next finer stride, `(B, H, W, 4 C)`."""

    def __init__(self, tensors: Tensors, products: Products) -> None:
        self._linear = _Scaled(tensors, products)
        self._bias = tensors["bias"]

    def __call__(self, f: Tensor) -> Tensor:
        def rows(start: int, stop: int) -> Tensor:
            return self._linear(f[:, start:stop]).add_(self._bias).round_().clamp_(-WIDE, WIDE)

        return by_strips(rows, f, *f.shape[1:3], f.shape[2], self._linear.outputs, most=_POSITIONS)


def below(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix and a dot, by the rest of their names."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}
