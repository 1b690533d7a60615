"""The QARV network: a bottom-up path (encoder), a top-down path (decoder), and the latents they share.

After Z. Duan, M. Lu, J. Ma, Y. Huang, Z. Ma, F. Zhu, "QARV: Quantization-Aware ResNet VAE for Lossy Image
Compression", IEEE TPAMI 2023 (arXiv 2302.08899), written afresh and lean: nothing works finer than stride 8.
At initialisation the network *is* a classical codec (lapped transform, two Haar levels over its lowest
coefficients, closed-loop residuals, √λ gains) because every residual branch starts at zero.

Tensors are float32 and channels-last, `(B, H, W, C)`, H and W being those of their stride. Files and entropy
coding are not known here: whoever runs the top-down path passes an `Exchange`, which turns what is predicted
about a latent into its quantized residual.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inspect_compress.qarv.lapped import BLOCK, SUPPORT, lapped_basis
from inspect_compress.qarv.likelihood import scale_index
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.strips import by_strips, in_strips, rows_of, with_halo

LMBDA_STEPS = 256

REACH = (SUPPORT - BLOCK) // 2
"""Pixels that a patch reaches beyond its block on each side."""
DISTORTION_WEIGHT = 8.0
"""The loss is `nats + λ · 8 · squared error`, samples in [0, 1]: λ = 16 is about 36 dB, λ = 8192 about 51 dB."""

_EMBEDDING = 64
_ANGLE = _EMBEDDING / math.log(8192)
_FEATURE_SCALE = 2.0
_HAAR = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) * 0.5
_LOWEST_8 = 16  # coefficients of stride 8 that go on to stride 16; of those, every fourth's mean to stride 32
_LOWEST_16 = (0, 4, 8, 12)


@dataclass(frozen=True)
class Shape:
    """Widths, depths and the range of λ, in LMBDA_STEPS log-spaced steps.

    `blocks_*` are the encoder's blocks at a stride, `depth_*` the decoder's for each step of coding there;
    `groups_*` are the channels of the latents at a stride, cut where a new group begins.
    """

    width_8: int = 96
    width_16: int = 160
    width_32: int = 192
    blocks_8: int = 2
    blocks_16: int = 2
    blocks_32: int = 2
    out_blocks: int = 2
    groups_32: tuple[int, ...] = (0, 16)
    groups_16: tuple[int, ...] = (0, 24, 64)
    groups_8: tuple[int, ...] = (0, 10, 28, 64)
    depth_32: int = 1
    depth_16: int = 1
    depth_8: int = 1
    lmbda_min: float = 16.0
    lmbda_max: float = 8192.0
    folded: bool = True
    """Whether patches that reach beyond a plane are folded back into it, so that there are as many latents as
    samples. If not, a plane is extended by `margin` on each side, and has a row and a column of patches more."""

    @property
    def margin(self) -> int:
        """Pixels that a plane is extended by at the top and at the left."""
        return 0 if self.folded else REACH

    def groups(self, stride: int) -> tuple[int, ...]:
        """Where groups of latent channels begin and end at a stride."""
        return {32: self.groups_32, 16: self.groups_16, 8: self.groups_8}[stride]

    def lmbda_of(self, index: float) -> float:
        """λ of an index from 0 to 255."""
        return self.lmbda_min * (self.lmbda_max / self.lmbda_min) ** (index / (LMBDA_STEPS - 1))

    def lmbdas(self) -> list[float]:
        """λ of every index."""
        return [self.lmbda_of(index) for index in range(LMBDA_STEPS)]

    def to_dict(self) -> dict[str, bool | float | tuple[int, ...]]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, float | Sequence[int]]) -> "Shape":
        return Shape(**{k: tuple(v) if isinstance(v, Sequence) else v for k, v in values.items()})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Prediction:
    """What the decoder knows of latents at N places, `(N,)`, counted row by row, before they are read.

    `log_scale + offset` is the logarithm of the prior's standard deviation in quantization steps, `(B, N, Z)` and
    `(B, 1 or N, Z)`.
    """

    stride: int
    places: Tensor
    log_scale: Tensor
    offset: Tensor

    @property
    def rows(self) -> Tensor:
        """The row of the probability tables for each latent, uint8, `(B, N, Z)`."""

        def part(start: int, stop: int) -> Tensor:
            return scale_index(self.log_scale[:, start:stop] + rows_of(self.offset, start, stop))

        batch, places, channels = self.log_scale.shape
        return by_strips(part, torch.empty(batch, dtype=torch.uint8), places, 1, channels)


class Exchange(Protocol):
    """Gives the residual of a latent to the prior's mean, in quantization steps: an integer, but in training."""

    def __call__(self, prediction: Prediction, residual: Tensor | None) -> Tensor:
        """Return `(B, N, Z)`. `residual`, shaped alike, is what the encoder wants; None in a decoder."""
        ...


def places_of(size: Sequence[int], stride: int) -> tuple[int, int]:
    """Rows and columns of the positions of a stride that planes of `size` pixels have."""
    return -(-size[0] // stride), -(-size[1] // stride)


def whole_cells(planes: Tensor) -> Tensor:
    """Planes `(B, 1, H, W)`, mirrored at the bottom and at the right up to multiples of 32."""
    height, width = (STRIDES[0] * cells for cells in places_of(planes.shape[2:], STRIDES[0]))
    return mirrored(planes, 0, (height, width))


def mirrored(planes: Tensor, before: int, ends: tuple[int, int]) -> Tensor:
    """Planes `(B, 1, H, W)` with mirrored samples from `before` their first ones up to `ends`."""
    for axis, end in zip((2, 3), ends, strict=True):
        if before == 0 and end == planes.shape[axis]:
            continue
        last = 2 * planes.shape[axis] - 1
        places = torch.arange(-before, end, device=planes.device) % (last + 1)
        planes = planes.index_select(axis, places.minimum(last - places))
    return planes


def cell_side(places: int, cells: int) -> int:
    """How many of `places`, the positions of some stride along an axis, a cell of λ, of `cells` there, has."""
    fitting = [places] if cells == 1 else [side for side in (1, 2, 4) if -(-places // side) == cells]
    if not fitting:
        raise ValueError(f"{cells} cells of λ do not fit {places} positions")
    return fitting[0]


class Conditions:
    """λ as the network sees it: an embedding and its logarithm, per picture or per position of stride 32."""

    def __init__(self, embedding: Tensor, log_lmbda: Tensor) -> None:
        self.embedding = embedding
        self.log_lmbda = log_lmbda

    @staticmethod
    def spread(table: Tensor, height: int, width: int) -> Tensor:
        """Repeat `(B, h, w, C)`, given at stride 32, for the positions `(height, width)` of a finer stride."""
        if table.shape[1:3] == (1, 1):
            return table
        for axis, places in ((1, height), (2, width)):
            table = table.repeat_interleave(cell_side(places, table.shape[axis]), dim=axis).narrow(axis, 0, places)
        return table


class Block(nn.Module):
    """Depthwise convolution, AdaLN by λ, and a two-layer perceptron; adds to its input, and starts by adding 0."""

    def __init__(self, width: int, kernel: int = 5, expand: int = 2) -> None:
        super().__init__()
        self.width = width
        self.halo = kernel // 2
        self.in_bfloat16 = False
        """Whether the perceptron computes in bfloat16: for training on a GPU; latents need the full precision."""
        self.depthwise = nn.Conv2d(width, width, kernel, padding=(0, kernel // 2), groups=width)
        self.adapt = nn.Linear(_EMBEDDING, 2 * width)
        self.up = nn.Linear(width, expand * width)
        self.down = nn.Linear(expand * width, width)
        nn.init.normal_(self.adapt.weight, std=0.02)
        for parameter in (self.adapt.bias, self.down.weight, self.down.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, conditions: Conditions) -> Tensor:
        table = Conditions.spread(self.adapt(conditions.embedding), *x.shape[1:3])

        def rows(start: int, stop: int) -> Tensor:
            around = with_halo(x, start, stop, self.halo)
            h = self.depthwise(around.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            h = F.layer_norm(h, (self.width,), eps=1e-6)
            scale, shift = rows_of(table, start, stop).chunk(2, -1)
            h = torch.addcmul(shift, h, 1 + scale)
            with torch.autocast(x.device.type, torch.bfloat16) if self.in_bfloat16 else nullcontext():
                return x[:, start:stop] + self.down(F.relu(self.up(h)))

        return by_strips(rows, x, *x.shape[1:3], *x.shape[2:])


class Posterior(nn.Module):
    """What the encoder wants a group of latent channels to be, from both paths (bidirectional inference)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.posterior = nn.Linear(width, channels)
        self.posterior_up = nn.Linear(2 * width, width)
        self.posterior_down = nn.Linear(width, channels)

    def wanted(self, f: Tensor, h: Tensor, places: Tensor) -> Tensor:
        """The posterior's mean at N places, `(B, N, Z)`; `f` and `h` are the decoder's and the encoder's features."""

        def part(start: int, stop: int) -> Tensor:
            encoder = take(h, places[start:stop])
            both = torch.cat([take(f, places[start:stop]), encoder], dim=-1)
            return self.posterior(encoder) + self.posterior_down(F.relu(self.posterior_up(both)))

        return by_strips(part, f, len(places), 1, self.channels)


class Latent(Posterior):
    """A group of latent channels at one stride, coded in two steps: the even squares of a checkerboard, the odd.

    The prior's mean starts as the features that hold the same coefficients, so a coefficient that a coarser
    level has coded well enough costs nothing again; the posterior starts as the encoder's coefficients.
    """

    def __init__(self, stride: int, width: int, depth: int, first: int, last: int) -> None:
        super().__init__(width, last - first)
        self.stride = stride
        self.blocks = nn.ModuleList([Block(width) for _ in range(2 * depth)])  # in turn for even and odd
        self.prior = nn.ModuleList([nn.Linear(width, 2 * self.channels) for _ in range(2)])
        self.gain = nn.Linear(_EMBEDDING, self.channels)
        self.back = nn.Linear(self.channels, width, bias=False)
        self.context = nn.Linear(2 * self.channels, width)
        self.scale_offset = nn.Linear(_EMBEDDING, self.channels)
        select = torch.eye(width)[first:last]
        nn.init.normal_(self.context.weight, std=0.02)
        with torch.no_grad():
            self.context.weight[:_CODED] = 0
            self.context.bias.zero_()
            for layer in (self.gain, self.scale_offset, self.posterior, self.posterior_down, *self.prior):
                layer.weight.zero_()
                layer.bias.zero_()
            self.posterior.weight.copy_(select)
            self.back.weight.copy_(select.T)
            for prior in self.prior:
                cast(nn.Linear, prior).weight[: self.channels].copy_(select)

    def code(self, parity: int, f: Tensor, h: Tensor | None, conditions: Conditions, exchange: Exchange) -> None:
        """Code the latents on the even (0) or odd (1) squares, and add to `f`, in place, what they say there.

        `h` is the encoder's side, None in a decoder.
        """
        size = (f.shape[1], f.shape[2])
        places = checkerboard(*size, f.device)[parity]
        log_gain = self.log_gain(conditions.embedding, conditions.log_lmbda)
        log_gain = Conditions.spread(log_gain, *size)
        offset = log_gain + Conditions.spread(self.scale_offset(conditions.embedding), *size)
        mean, log_scale = self.predicted(self.prior[parity], f, places).chunk(2, -1)
        gain = torch.exp(at_places(log_gain, places))
        prediction = Prediction(self.stride, places, log_scale, at_places(offset, places))
        steps = exchange(prediction, None if h is None else (self.wanted(f, h, places) - mean).float() * gain)
        self.tell(f, steps, gain, places)

    def log_gain(self, embedding: Tensor, log_lmbda: Tensor) -> Tensor:
        """The logarithm of the quantization steps per unit of the features, `(…, Z)`."""
        return 0.5 * log_lmbda + _LOG_GAIN + self.gain(embedding)

    def predicted(self, prior: nn.Module, f: Tensor, places: Tensor) -> Tensor:
        """The prior's mean and log scale, `(B, N, 2 Z)`."""
        return by_strips(lambda start, stop: prior(take(f, places[start:stop])), f, len(places), 1, 2 * self.channels)

    def tell(self, f: Tensor, steps: Tensor, gain: Tensor, places: Tensor) -> None:
        """Add to the features at N places what the residuals, `(B, N, Z)`, say."""

        def part(start: int, stop: int) -> None:
            said, here = steps[:, start:stop], places[start:stop]
            values = self.back(said / rows_of(gain, start, stop))
            told = take(f, here) + values + self.context(_strength(said))
            f.flatten(1, 2).index_copy_(1, here, told)

        in_strips(part, len(places), f.shape[0])


class Enter(nn.Module):
    """The lapped analysis: planes `(B, 1, H, W)` to features `(B, H/8, W/8, C)`, each from 16×16 samples.

    Beyond the planes their samples are mirrored where patches are `folded` in synthesis, else zero.
    """

    def __init__(self, width: int, *, folded: bool) -> None:
        super().__init__()
        self.folded = folded
        self.weight = nn.Parameter(torch.randn(width, 1, SUPPORT, SUPPORT) * 0.02)
        self.bias = nn.Parameter(torch.zeros(width))

    def extended(self, planes: Tensor) -> Tensor:
        """All samples that patches are taken of, `(B, H + 8, W + 8)`."""
        if not self.folded:
            return F.pad(planes[:, 0], (REACH,) * 4)
        height, width = planes.shape[2:]
        return mirrored(planes, REACH, (height + REACH, width + REACH))[:, 0]

    def forward(self, planes: Tensor) -> Tensor:
        patches = self.extended(planes).unfold(1, SUPPORT, BLOCK).unfold(2, SUPPORT, BLOCK)

        def rows(start: int, stop: int) -> Tensor:
            return F.linear(patches[:, start:stop].flatten(3), self.weight.flatten(1), self.bias)

        return by_strips(rows, planes, *patches.shape[1:3], patches.shape[2], len(self.weight))


class Halve(nn.Linear):
    """Features `(B, H, W, C)` to those of the next coarser stride, `(B, H/2, W/2, C')`, each from four positions."""

    def forward(self, x: Tensor) -> Tensor:
        return _pointwise(super().forward, _gather(x), self.out_features)


class Leave(nn.Module):
    """The lapped synthesis, the transpose of `Enter`: a 1×1 layer, and its 16×16 patches overlapped and added."""

    def __init__(self, width: int, *, folded: bool) -> None:
        super().__init__()
        self.folded = folded
        self.weight = nn.Parameter(torch.zeros(width, 1, SUPPORT, SUPPORT))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, f: Tensor) -> Tensor:
        planes = overlap_add(f, lambda around: F.linear(around, self.weight.flatten(1).T))
        return inner(planes, folded=self.folded)[:, None] + self.bias


def inner(planes: Tensor, *, folded: bool) -> Tensor:
    """Overlapped patches, `(B, H + 8, W + 8)`, without what lies beyond the planes, `(B, H, W)`.

    With `folded`, that is added, mirrored and in place, to the samples at the border: there, the patches of a lapped
    transform of mirrored samples are mirrored too (H. S. Malvar, "Signal Processing with Lapped Transforms", 1992).
    """
    for axis in (1, 2):
        last = planes.shape[axis] - REACH
        for outside, inside in ((0, REACH), (last, last - REACH)) if folded else ():
            planes.narrow(axis, inside, REACH).add_(planes.narrow(axis, outside, REACH).flip(axis))
        planes = planes.narrow(axis, REACH, last - REACH)
    return planes


def overlap_add(f: Tensor, patches_of: Callable[[Tensor], Tensor]) -> Tensor:
    """The sum, `(B, H + 8, W + 8)`, of the 16×16 patches that `patches_of`, `(…, C)` to `(…, 256)`, makes."""
    h, w = f.shape[1:3]

    def rows(start: int, stop: int) -> Tensor:
        """Each from the lower half of the patches above and the upper half of its own."""
        around = with_halo(f, start, stop, 1)[:, :-1]
        patches = patches_of(around).unflatten(-1, (2, BLOCK, 2, BLOCK))
        both = patches[:, 1:, :, 0] + patches[:, :-1, :, 1]
        across = F.pad(both[..., 0, :], (0, 0, 0, 0, 0, 1)) + F.pad(both[..., 1, :], (0, 0, 0, 0, 1, 0))
        return across.permute(0, 1, 3, 2, 4).flatten(3)

    return by_strips(rows, f, h + 1, w + 1, BLOCK, (w + 1) * BLOCK).flatten(1, 2)


class Encoder(nn.Module):
    """λ's embedding and the bottom-up path. Planes are `(B, 1, H, W)`, H and W multiples of 32, samples in [0, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = s = shape
        self.embed = nn.Sequential(
            nn.Linear(_EMBEDDING, _EMBEDDING), nn.GELU(), nn.Linear(_EMBEDDING, _EMBEDDING), nn.GELU()
        )
        self.enter = Enter(s.width_8, folded=s.folded)
        self.up_8 = nn.ModuleList([Block(s.width_8) for _ in range(s.blocks_8)])
        self.halve_16 = Halve(4 * s.width_8, s.width_16)
        self.up_16 = nn.ModuleList([Block(s.width_16) for _ in range(s.blocks_16)])
        self.halve_32 = Halve(4 * s.width_16, s.width_32)
        self.up_32 = nn.ModuleList([Block(s.width_32) for _ in range(s.blocks_32)])

    def conditions(self, lmbda: Tensor) -> Conditions:
        """λ as `(B,)`, or as a map `(B, H / 32, W / 32)`, made ready for `bottom_up` and `top_down`."""
        if lmbda.dim() == 1:
            lmbda = lmbda[:, None, None]
        log_lmbda = torch.log(lmbda)[..., None]
        frequencies = _EMBEDDING ** -torch.linspace(0, 1, _EMBEDDING // 2, device=lmbda.device)
        angles = log_lmbda * _ANGLE * frequencies
        return Conditions(self.embed(torch.cat([angles.cos(), angles.sin()], dim=-1)), log_lmbda)

    def bottom_up(self, planes: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's features at strides 32, 16 and 8."""
        h8 = self.enter(planes - 0.5)
        for block in self.up_8:
            h8 = block(h8, conditions)
        h16 = self.halve_16(h8)
        for block in self.up_16:
            h16 = block(h16, conditions)
        h32 = self.halve_32(h16)
        for block in self.up_32:
            h32 = block(h32, conditions)
        return h32, h16, h8


class Network(Encoder):
    """The whole network."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__(shape or Shape())
        s = self.shape
        self.start = nn.Parameter(torch.zeros(s.width_32))
        self.latents_32 = _latents(32, s.width_32, s.depth_32, s.groups_32)
        self.double_16 = nn.Linear(s.width_32, 4 * s.width_16)
        self.latents_16 = _latents(16, s.width_16, s.depth_16, s.groups_16)
        self.double_8 = nn.Linear(s.width_16, 4 * s.width_8)
        self.latents_8 = _latents(8, s.width_8, s.depth_8, s.groups_8)
        self.out = nn.ModuleList([Block(s.width_8) for _ in range(s.out_blocks)])
        self.leave = Leave(s.width_8, folded=s.folded)
        self._start_as_classical_codec()

    def at(self, index: Tensor, count: int, *, halved: bool) -> Conditions:
        """The conditions of `count` planes at indexes of λ; a sample of halved planes stands for four."""
        most = self.shape.lmbda_max
        lmbdas = [min(4 * lmbda, most) if halved else lmbda for lmbda in self.shape.lmbdas()]
        return self.conditions(torch.tensor(lmbdas)[index.expand(count, -1, -1)])

    def top_down(
        self,
        size: tuple[int, int],
        conditions: Conditions,
        exchange: Exchange,
        encoder: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Exchange all latents of planes of `size` pixels and return the features that `render` makes planes of.

        `encoder` is what `bottom_up` made of the planes, extended to multiples of 32; a decoder has None.
        """
        batch = conditions.embedding.shape[0]
        f = self.start.expand(batch, *places_of(size, 32), -1)
        levels = ((self.latents_32, None), (self.latents_16, self.double_16), (self.latents_8, self.double_8))
        for number, (stride, (latents, double)) in enumerate(zip(STRIDES, levels, strict=True)):
            if double is not None:
                f = cut(scatter(_pointwise(double, f, double.out_features)), size, stride)
            h = cut(encoder[number], size, stride) if encoder else None
            for latent in cast(Iterable[Latent], latents):
                for parity in (0, 1):
                    for block in latent.blocks[parity::2]:
                        f = block(f, conditions)
                    latent.code(parity, f, h, conditions, exchange)
        return f

    def render(self, f: Tensor, conditions: Conditions) -> Tensor:
        """The planes `(B, 1, 8 H, 8 W)` that the features `(B, H, W, C)` of stride 8 stand for."""
        for block in self.out:
            f = block(f, conditions)
        return self.leave(f) + 0.5

    @torch.no_grad()
    def _start_as_classical_codec(self) -> None:
        basis = torch.tensor(lapped_basis(), dtype=torch.float32)[:, None]
        self.enter.weight[: len(basis)] = basis * _FEATURE_SCALE
        self.leave.weight[: len(basis)] = basis / _FEATURE_SCALE
        for layer in (self.halve_16, self.halve_32, self.double_16, self.double_8):
            nn.init.zeros_(layer.bias)
        _start_haar(self.halve_16, self.double_8, range(_LOWEST_8))
        _start_haar(self.halve_32, self.double_16, _LOWEST_16)

    @torch.no_grad()
    def fit_scales(self, planes: Tensor) -> None:
        """Start the priors' scales at the standard deviations of the coefficients of `planes`."""
        conditions = self.conditions(torch.full((len(planes),), 1000.0))
        levels = self.bottom_up(whole_cells(planes), conditions)
        closed_loop = ((), _LOWEST_16, tuple(range(_LOWEST_8)))
        for latents, h, coded in zip(
            (self.latents_32, self.latents_16, self.latents_8), levels, closed_loop, strict=True
        ):
            deviation = h.std((0, 1, 2)).clamp_min(1e-3)
            deviation[list(coded)] = 0.03
            first = 0
            for latent in cast(Iterable[Latent], latents):
                for prior in cast(Iterable[nn.Linear], latent.prior):
                    prior.bias[latent.channels :] = torch.log(deviation[first : first + latent.channels])
                first += latent.channels


_CODED = 64
"""Features that start as coefficients at strides 8 and 16 (at stride 32, the first 16); the others are free."""

_LOG_GAIN = math.log(math.sqrt(DISTORTION_WEIGHT / 6) / _FEATURE_SCALE)
"""Minimises `ln g + λ · 8 / (12 g²)` over the gain g: the high-rate optimum of a uniform quantizer."""


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)  # a tensor made in that mode could not be used in training later
def checkerboard(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The even squares, `(N,)`, and the odd ones: places counted row by row, ascending."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None]
    even = ((rows + columns) % 2 == 0).flatten()
    return even.nonzero().flatten(), (~even).nonzero().flatten()


def _latents(stride: int, width: int, depth: int, groups: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList([Latent(stride, width, depth, a, b) for a, b in pairwise(groups)])


def cut(x: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """Features `(B, H, W, C)` of a stride without the positions beyond planes of `size` pixels."""
    rows, columns = places_of(size, stride)
    return x[:, :rows, :columns].contiguous()


def take(x: Tensor, places: Tensor) -> Tensor:
    """`(B, H, W, C)` at N places, `(B, N, C)`."""
    return x.flatten(1, 2).index_select(1, places)


def at_places(table: Tensor, places: Tensor) -> Tensor:
    """As `_take`; what is the same everywhere, `(B, 1, 1, C)`, becomes `(B, 1, C)`."""
    return table[:, 0] if table.shape[1:3] == (1, 1) else take(table, places)


def _pointwise(layer: Callable[[Tensor], Tensor], x: Tensor, outputs: int) -> Tensor:
    """A linear layer, strip by strip."""
    shape = (*x.shape[2:-1], outputs)
    return by_strips(lambda start, stop: layer(x[:, start:stop]), x, x.shape[1], math.prod(x.shape[2:-1]), *shape)


def _strength(steps: Tensor) -> Tensor:
    """Residuals and their magnitudes, cut at 4 steps, `(B, N, 2 Z)`: what tells how busy a place is.

    In the features themselves a few steps of a high frequency are lost beside the mean of the block. Scaled down,
    so that what training does to the layer above is gentle to the features.
    """
    return torch.cat([steps.clamp(-4, 4), steps.abs().clamp(max=4)], dim=-1) / 16


def _gather(x: Tensor) -> Tensor:
    """`(B, H, W, C)` to `(B, H/2, W/2, 4 C)`: the four positions of each square, row by row."""
    b, h, w, c = x.shape
    return x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def scatter(x: Tensor) -> Tensor:
    """The inverse of `_gather`."""
    b, h, w, c = x.shape
    x = x.view(b, h, w, 2, 2, c // 4).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, 2 * h, 2 * w, c // 4)


def _start_haar(halve: nn.Linear, double: nn.Linear, channels: Sequence[int]) -> None:
    """Channel `4 k + band` of the coarse side starts as the Haar band of the k-th of the fine `channels`."""
    fine = halve.in_features // 4
    halve.weight.mul_(0.3)
    halve.weight[: 4 * len(channels)] = 0
    nn.init.normal_(double.weight, std=0.02)
    for position in range(4):
        double.weight[position * fine : position * fine + _CODED] = 0
    for k, channel in enumerate(channels):
        for band in range(4):
            for position in range(4):
                halve.weight[4 * k + band, position * fine + channel] = _HAAR[band, position]
                double.weight[position * fine + channel, 4 * k + band] = _HAAR[band, position]
