"""What training minimises: nats per pixel plus λ-weighted squared error, with quantization made differentiable."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inspect_compress.qarv.likelihood import probability
from inspect_compress.qarv.network import (
    DISTORTION_WEIGHT,
    LOG_SCALE_MIN,
    MARGIN,
    STRIDES,
    Network,
    Prediction,
)

_NARROW = 0.7
"""Steps; the deviation of the prior below which rounding is passed on."""


@dataclass(frozen=True)
class Outcome:
    """Means over a batch: `loss` in nats per pixel, `nats` per pixel by stride, `squared_error` per sample."""

    loss: Tensor
    nats: dict[int, Tensor]
    squared_error: Tensor


class NoisyExchange:
    """Counts nats with additive uniform noise; passes on noise where the prior is wide, rounding where narrow.

    A wide prior's rounding error is uniform noise, and noise has the unbiased gradient. A narrow one's is not:
    nearly all is rounded to 0, which the decoder must see (straight-through gradient, after D. Minnen and
    S. Singh, "Channel-wise autoregressive entropy models for learned image compression", ICIP 2020).
    """

    def __init__(self) -> None:
        self.nats: dict[int, list[Tensor]] = {stride: [] for stride in STRIDES}

    def __call__(self, prediction: Prediction, latent: Tensor | None) -> Tensor:
        assert latent is not None
        steps = (latent - prediction.mean).float() * prediction.gain
        noisy = steps + torch.rand_like(steps) - 0.5
        scale = torch.exp(_lower_bound(prediction.log_scale.float(), LOG_SCALE_MIN))
        nats = -torch.log(probability(noisy, scale)) * prediction.mask
        self.nats[prediction.stride].append(nats.sum((1, 2, 3)))
        rounded = steps + (steps.round() - steps).detach()
        passed_on = torch.where(scale < _NARROW, rounded, noisy)
        return passed_on * prediction.mask


def evaluate_batch(network: Network, planes: Tensor, lmbda: Tensor) -> Outcome:
    """Run both paths on planes `(B, 1, H, W)`, extended by MARGIN; `lmbda` is `(B,)` or a map at stride 32.

    Only the pixels inside the margin count for distortion and for the number of pixels.
    """
    conditions = network.conditions(lmbda)
    exchange = NoisyExchange()
    size = (planes.shape[2], planes.shape[3])
    features = network.top_down(size, conditions, exchange, network.bottom_up(planes, conditions))
    decoded = network.render(features, conditions).float()
    inner = slice(MARGIN, -MARGIN)
    error = (decoded - planes)[..., inner, inner].square()
    pixels = error.shape[2] * error.shape[3]
    nats = {stride: torch.stack(parts).sum(0) / pixels for stride, parts in exchange.nats.items()}
    weight = _per_pixel(lmbda, size)[..., inner, inner]
    rate = torch.stack(list(nats.values())).sum(0)
    loss = (rate + DISTORTION_WEIGHT * (weight * error).mean((1, 2, 3))).mean()
    return Outcome(loss, {stride: value.mean() for stride, value in nats.items()}, error.mean())


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
