"""What training minimises: nats per pixel plus λ-weighted squared error, with quantization made differentiable."""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from inspect_compress.qarv.likelihood import LOG_SCALE_MIN, probability, scale_index
from inspect_compress.qarv.network import (
    DISTORTION_WEIGHT,
    Network,
    Prediction,
    whole_cells,
)
from inspect_compress.qarv.rounding import Rounding
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.tables import gaussian_tables

_NARROW = 0.7
"""Steps; the deviation of the prior below which rounding is passed on."""
_RATE_EXPONENT = 0.45
"""The rate grows with this power of λ."""
_LMBDA_OF_WEIGHT_1 = 350.0


@dataclass(frozen=True)
class Outcome:
    """Means over a batch: `loss` weighted, `nats` per pixel by stride, `squared_error` per sample."""

    loss: Tensor
    nats: dict[int, Tensor]
    squared_error: Tensor


class TrainingExchange:
    """Counts nats, and passes on noise where the prior is wide, rounding where narrow.

    A wide prior's rounding error is uniform noise, and noise has the unbiased gradient. A narrow one's is not:
    nearly all is rounded to 0, which the decoder must see (straight-through gradient, after D. Minnen and
    S. Singh, "Channel-wise autoregressive entropy models for learned image compression", ICIP 2020), rounded as
    the encoder will (see `qarv.rounding`).

    The nats are those of the rounded residuals, from which the prior's scale learns. Rounding has no gradient, so
    the residuals learn from the nats that they would have with noise.
    """

    def __init__(self, noise: torch.Generator) -> None:
        self._noise = noise
        self._rounding = _rounding(noise.device)
        self.nats: dict[int, list[Tensor]] = {stride: [] for stride in STRIDES}

    def __call__(self, prediction: Prediction, residual: Tensor | None) -> Tensor:
        assert residual is not None
        noisy = residual + torch.rand(residual.shape, generator=self._noise, device=residual.device) - 0.5
        log_scale = (prediction.log_scale + prediction.offset).float()
        rounded = self._rounding(residual.detach(), scale_index(log_scale.detach()))
        scale = torch.exp(_lower_bound(log_scale, LOG_SCALE_MIN))
        nats = _nats(rounded, scale)
        noisy_nats = _nats(noisy, scale.detach())
        counted = nats + noisy_nats - noisy_nats.detach()
        self.nats[prediction.stride].append(counted.sum((1, 2)))
        return torch.where(scale < _NARROW, residual + (rounded - residual).detach(), noisy)


def _nats(steps: Tensor, scale: Tensor) -> Tensor:
    return -torch.log(probability(steps, scale))


@cache
def _rounding(device: torch.device) -> Rounding:
    return Rounding(gaussian_tables(), device)


def evaluate_batch(network: Network, planes: Tensor, lmbda: Tensor, noise: torch.Generator) -> Outcome:
    """Run both paths on planes `(B, 1, H, W)`, extended by the margin of the network's shape.

    `lmbda` is `(B,)` or a map at stride 32. The quantization noise is drawn from `noise`.

    Only the pixels inside the margin count for distortion and for the number of pixels.
    """
    conditions = network.conditions(lmbda)
    exchange = TrainingExchange(noise)
    size = (planes.shape[2], planes.shape[3])
    features = network.top_down(size, conditions, exchange, network.bottom_up(whole_cells(planes), conditions))
    decoded = network.render(features, conditions).float()
    margin = network.shape.margin
    inner = slice(margin, size[0] - margin), slice(margin, size[1] - margin)
    error = (decoded - planes)[..., *inner].square()
    pixels = error.shape[2] * error.shape[3]
    nats = {stride: torch.stack(parts).sum(0) / pixels for stride, parts in exchange.nats.items()}
    weight = _per_pixel(lmbda, size)[..., *inner]
    rate = torch.stack(list(nats.values())).sum(0)
    loss = (_importance(lmbda) * (rate + DISTORTION_WEIGHT * (weight * error).mean((1, 2, 3)))).mean()
    return Outcome(loss, {stride: value.mean() for stride, value in nats.items()}, error.mean())


def _importance(lmbda: Tensor) -> Tensor:
    """The weight of each picture, `(B,)`: about 1 / rate, so that a per cent of rate counts alike at every λ."""
    middle = lmbda if lmbda.dim() == 1 else lmbda.log().mean((1, 2)).exp()
    return (middle / _LMBDA_OF_WEIGHT_1) ** -_RATE_EXPONENT


def _per_pixel(lmbda: Tensor, size: tuple[int, int]) -> Tensor:
    if lmbda.dim() == 1:
        return lmbda[:, None, None, None].expand(-1, 1, *size)
    return F.interpolate(lmbda[:, None], scale_factor=float(STRIDES[0]))


class _LowerBound(torch.autograd.Function):
    """`max(x, bound)` whose gradient also passes below the bound where it would raise x (Ballé et al., 2018)."""

    @staticmethod
    def forward(ctx, x: Tensor, bound: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


def _lower_bound(x: Tensor, bound: float) -> Tensor:
    return _LowerBound.apply(x, bound)
