"""The top-down path as files are made and read with it: integers throughout, so every machine decodes alike.

Features, weights and everything that is summed are integers held in float32; every sum stays under 2^24 in size,
where float32 is exact whatever the order (training/export.py proves it from the weights). Between the sums stand
single elementwise operations, each correctly rounded by IEEE 754: multiply, add, divide, square root, round half to
even, clamp. λ enters through tables, one row for each of its 256 steps. docs/format.md states every operation,
docs/exactness.md argues why that is enough.

The bottom-up path and the posterior are ordinary floats: only an encoder needs them.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import torch
from torch import Tensor

from inspect_compress.qarv.layers import ExactConditions, Layers, Tensors, below
from inspect_compress.qarv.network import (
    LMBDA_STEPS,
    Block,
    Encoder,
    Enter,
    Halve,
    Posterior,
    Shape,
    at_places,
    checkerboard,
    cut,
    inner,
    places_of,
)
from inspect_compress.qarv.strides import STRIDES

FRACTION_BITS = {32: 9, 16: 10, 8: 11}
"""A feature's integer is its value times two to this power, at each stride; wide integers (see products.py)."""
GREY_FRACTIONS = 256
"""Integers that a grey level is divided into, where patches overlap."""


@dataclass(frozen=True)
class ExactPrediction:
    """What is known of latents at N places before they are read.

    `places`, int64 `(N,)`, are counted row by row; `rows`, uint8 `(B, N, Z)`, are those of the probability tables.
    """

    stride: int
    places: Tensor
    rows: Tensor


class ExactExchange(Protocol):
    """Gives the residuals of latents, integers in float32, `(B, N, Z)`; for what the encoder wants, or None."""

    def __call__(self, prediction: ExactPrediction, residual: Tensor | None) -> Tensor: ...


class ExactNetwork:
    """A network as `training/export.py` makes it; see `network.Network`."""

    def __init__(self, shape: Shape, tensors: Tensors, layers: Layers) -> None:
        self.shape = shape
        self.encoder = Encoder(shape)
        self.encoder.load_state_dict(below(tensors, "encoder"))
        self.encoder.requires_grad_(False).eval()
        for blocks in (self.encoder.up_8, self.encoder.up_16, self.encoder.up_32):
            for number, block in enumerate(blocks):
                blocks[number] = layers.encoder_block(cast(Block, block))
        self.encoder.enter = cast(Enter, layers.enter(self.encoder.enter))
        self.encoder.halve_16 = cast(Halve, layers.halve(self.encoder.halve_16))
        self.encoder.halve_32 = cast(Halve, layers.halve(self.encoder.halve_32))
        self._lmbdas = torch.tensor(shape.lmbdas())
        self._halved_steps = int(tensors["halved_steps"])
        self._start = tensors["start"].float()
        self._levels = [
            [
                _ExactLatent(stride, first, last, below(tensors, f"latents_{stride}.{number}"), layers)
                for number, (first, last) in enumerate(pairwise(shape.groups(stride)))
            ]
            for stride in STRIDES
        ]
        self._doubles = [layers.double(below(tensors, f"double_{stride}")) for stride in STRIDES[1:]]
        self._out = [layers.block(below(tensors, f"out.{number}")) for number in range(shape.out_blocks)]
        self._leave = layers.leave(below(tensors, "leave"))
        self._grey_bias = tensors["leave.bias"]

    def at(self, index: Tensor, count: int, *, halved: bool) -> ExactConditions:
        """The conditions of `count` planes at indexes of λ; halved planes have the λ that is about four times it."""
        if halved:
            index = (index + self._halved_steps).clamp(0, LMBDA_STEPS - 1)
        index = index.expand(count, -1, -1)
        return ExactConditions(index, self._lmbdas[index])

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

        `encoder` is what `bottom_up` made of the planes, extended to multiples of 32; a decoder has None.
        """
        f = self._start.expand(len(conditions.index), *places_of(size, 32), -1)
        for level, (stride, latents) in enumerate(zip(STRIDES, self._levels, strict=True)):
            if level:
                f = cut(self._doubles[level - 1](f), size, stride)
            h = cut(encoder[level], size, stride) if encoder else None
            squares = checkerboard(f.shape[1], f.shape[2], f.device)
            for latent in latents:
                for parity, places in enumerate(squares):
                    for block in latent.blocks[parity::2]:
                        f = block(f, conditions)
                    latent.code(parity, places, f, h, conditions, exchange)
        return f

    def render(self, f: Tensor, conditions: ExactConditions) -> Tensor:
        """The planes `(B, 1, 8 H, 8 W)` that the features `(B, H, W, C)` of stride 8 stand for, in about [0, 1]."""
        for block in self._out:
            f = block(f, conditions)
        planes = inner(self._leave(f), folded=self.shape.folded)
        return planes.add_(self._grey_bias).mul_(1 / (255 * GREY_FRACTIONS))[:, None]


class _ExactLatent:
    """A group of latent channels at one stride: first the even squares of a checkerboard, then the odd."""

    def __init__(self, stride: int, first: int, last: int, tensors: Tensors, layers: Layers) -> None:
        self._stride = stride
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        self.blocks = [layers.block(below(tensors, f"blocks.{number}")) for number in range(blocks)]
        self._rows = [layers.rows(below(tensors, f"row.{parity}")) for parity in (0, 1)]
        self._row_table = [tensors[f"row_table.{parity}"] for parity in (0, 1)]
        self._step, self._gain = tensors["step"], tensors["gain"]
        self._tell = layers.tell(tensors, first, last - first)
        width, channels, unit = len(tensors["back.weight"]), last - first, 2.0 ** -FRACTION_BITS[stride]
        posterior = Posterior(width, channels)
        posterior.load_state_dict(below(tensors, "encoder"))
        posterior.requires_grad_(False).eval()
        posterior.posterior_up.weight[:, :width] *= unit
        self._wanted = [
            layers.wanted(posterior, tensors[f"mean.{p}.weight"].float() * unit, tensors[f"mean.{p}.bias"].float())
            for p in (0, 1)
        ]

    def code(
        self,
        parity: int,
        places: Tensor,
        f: Tensor,
        h: Tensor | None,
        conditions: ExactConditions,
        exchange: ExactExchange,
    ) -> None:
        """Code the latents at places, the even (0) or odd (1) squares, and add to `f`, in place, what they say there.

        `h` is the encoder's side, None in a decoder.
        """

        def here(values: Tensor) -> Tensor:
            return at_places(conditions.spread(values, f.shape[1], f.shape[2]), places)

        rows = self._rows[parity](f, here(self._row_table[parity]), places)
        residual = None if h is None else self._wanted[parity](f, h, here(self._gain), places)
        steps = exchange(ExactPrediction(self._stride, places, rows), residual)
        self._tell(f, steps, here(self._step), places)
