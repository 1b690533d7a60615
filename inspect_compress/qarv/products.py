"""Sums of products of small integers, that come out the same on every machine, whatever computes them.

Integers of up to 2^24 are exact in float32, and those of up to 2^53 in float64: as long as no partial sum can get
larger, no order of summation, no blocking, no thread count and no fused operation can change it. Processors with
8-bit dot products (VNNI) compute the same sums four times as fast.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

NARROW = 127
"""The largest size of a narrow integer: 8 bits."""
SPLIT = 128
"""Wide integers are `SPLIT · high + low`, both narrow."""
WIDE = SPLIT * NARROW + SPLIT // 2 - 1
"""The largest size of a wide integer: 15 bits."""

Linear = Callable[[Tensor], Tensor]
"""Float32 `(…, K)`, which it may change, to float32 `(…, N)`."""
LinearWithBias = Callable[[Tensor, Tensor], Tensor]
"""The same with a bias, `(N,)` or `(…, N)`, in units of the result."""


class Products(ABC):
    """A way to compute linear layers of integers. Weights are `(N, K)`."""

    @abstractmethod
    def narrow(self, weights: Tensor) -> Linear:
        """Sums for narrow integers and int8 weights. Fractions of what is multiplied are dropped, towards 0."""

    @abstractmethod
    def halved(self, weights: Tensor, exponents: Tensor) -> LinearWithBias:
        """The same times 2 to the power of `-exponents`, int8 `(N,)`, plus a bias that makes nothing inexact."""

    @abstractmethod
    def wide(self, weights: Tensor) -> Linear:
        """Sums, rounded to float32, for wide integers and int8 or wide int16 weights."""


class FloatProducts(Products):
    """Products in floating point; float64 can stand for float32 throughout, to the same result."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype

    def narrow(self, weights: Tensor) -> Linear:
        ready = weights.to(self._dtype)
        return lambda x: F.linear(x.trunc_().to(self._dtype), ready).float()

    def halved(self, weights: Tensor, exponents: Tensor) -> LinearWithBias:
        ready = weights.to(self._dtype) * halvings(exponents)[:, None]

        def multiply(x: Tensor, bias: Tensor) -> Tensor:
            x = x.trunc_().to(self._dtype)
            if bias.dim() == 1:
                return F.linear(x, ready, bias.to(self._dtype)).float()
            return F.linear(x, ready).float().add_(bias)

        return multiply

    def wide(self, weights: Tensor) -> Linear:
        ready = weights.double().T.contiguous()
        return lambda x: (x.double() @ ready).float()


class Int8Products(Products):
    """Products by 8-bit instructions; right only where `int8_is_exact`."""

    def narrow(self, weights: Tensor) -> Linear:
        ready = weights.T.contiguous()
        return lambda x: _int8(x, ready).float()

    def halved(self, weights: Tensor, exponents: Tensor) -> LinearWithBias:
        sums, scale = self.narrow(weights), halvings(exponents)
        return lambda x, bias: sums(x).mul_(scale).add_(bias)

    def wide(self, weights: Tensor) -> Linear:
        if weights.dtype == torch.int8:
            whole = weights.T.contiguous()
            return lambda x: _joined(*(_int8(part, whole) for part in split(x))).float()
        high, low = (part.to(torch.int8).T.contiguous() for part in split(weights.float()))

        def multiply(x: Tensor) -> Tensor:
            x_high, x_low = (part.to(torch.int8) for part in split(x))
            middle = _int8(x_high, low).add_(_int8(x_low, high))
            return _joined(_joined(_int8(x_high, high), middle), _int8(x_low, low)).float()

        return multiply


def fastest() -> Products:
    """The fastest of this processor's ways that are exact."""
    return Int8Products() if int8_is_exact() else FloatProducts()


def halvings(exponents: Tensor) -> Tensor:
    """2 to the power of `-exponents`, float32, exactly."""
    return torch.tensor([2.0**-exponent for exponent in exponents.tolist()])


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Wide integers as high and low, both narrow: `SPLIT · high + low`."""
    high = (x * (1 / SPLIT)).round_()
    return high, torch.sub(x, high, alpha=SPLIT)


@cache
def int8_is_exact() -> bool:
    """Whether 8-bit products of the largest factors are right here: without VNNI, sums of two saturate at 16 bits."""
    signs = torch.tensor([1, -1, 1, 1, -1]).repeat(26)
    x = (NARROW * torch.stack([signs, -signs, signs.abs()]).repeat(11, 1)).float()
    weights = (NARROW * torch.stack([signs, signs.roll(1), signs.abs(), -signs.abs()]).repeat(8, 1)).to(torch.int8)
    try:
        return torch.equal(Int8Products().narrow(weights)(x), FloatProducts(torch.float64).narrow(weights)(x))
    except RuntimeError:  # a build of torch without them
        return False


def _int8(x: Tensor, ready: Tensor) -> Tensor:
    *places, inputs = x.shape
    return torch._int_mm(x.to(torch.int8).view(-1, inputs), ready).view(*places, ready.shape[1])


def _joined(high: Tensor, low: Tensor) -> Tensor:
    return high.mul_(SPLIT).add_(low)
