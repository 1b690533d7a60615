"""Sums of products of small integers, that come out the same on every machine, whatever computes them.

Integers of up to 2^24 are exact in float32, and those of up to 2^53 in float64: as long as no partial sum can get
larger, no order of summation, no blocking, no thread count and no fused operation can change it. Processors with
8-bit dot products (VNNI) compute the same sums four times as fast.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

NARROW = 127
"""The largest size of a narrow integer: 8 bits."""
SPLIT = 256
"""Wide integers are `SPLIT · high + low`, both of 8 bits."""
WIDE = SPLIT * NARROW + SPLIT // 2 - 1
"""The largest size of a wide integer: 16 bits."""

SHIFT_FRACTIONS = 64
"""Integers that a step of the perceptron's input is divided into, where λ shifts it."""

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
    """Products by 8-bit instructions; not right on every machine, see FastestProducts."""

    def narrow(self, weights: Tensor) -> Linear:
        ready = weights.T.clone(memory_format=torch.contiguous_format)
        return lambda x: _int8(x, ready).float()

    def halved(self, weights: Tensor, exponents: Tensor) -> LinearWithBias:
        sums, scale = self.narrow(weights), halvings(exponents)
        return lambda x, bias: sums(x).mul_(scale).add_(bias)

    def wide(self, weights: Tensor) -> Linear:
        if weights.dtype == torch.int8:
            whole = weights.T.clone(memory_format=torch.contiguous_format)
            return lambda x: _joined(*(_int8(part, whole) for part in split(x))).float()
        high, low = (
            part.to(torch.int8).T.clone(memory_format=torch.contiguous_format) for part in split(weights.float())
        )

        def multiply(x: Tensor) -> Tensor:
            x_high, x_low = (part.to(torch.int8) for part in split(x))
            middle = _int8(x_high, low).add_(_int8(x_low, high))
            return _joined(_joined(_int8(x_high, high), middle), _int8(x_low, low)).float()

        return multiply


class FastestProducts(Products):
    """8-bit products for the layers that this processor and its libraries get right, float32 for the others.

    Without VNNI, libraries add products in 16 bits, which saturate; and they have had errors of their own.
    """

    def __init__(self) -> None:
        self._fast, self._sure = Int8Products(), FloatProducts()

    def narrow(self, weights: Tensor) -> Linear:
        fast, sure = self._fast.narrow(weights), self._sure.narrow(weights)
        return fast if _agree(fast, sure, weights, NARROW) else sure

    def halved(self, weights: Tensor, exponents: Tensor) -> LinearWithBias:
        right = _agree(self._fast.narrow(weights), self._sure.narrow(weights), weights, NARROW)
        return (self._fast if right else self._sure).halved(weights, exponents)

    def wide(self, weights: Tensor) -> Linear:
        fast, sure = self._fast.wide(weights), self._sure.wide(weights)
        return fast if _agree(fast, sure, weights, WIDE) else sure


def halvings(exponents: Tensor) -> Tensor:
    """2 to the power of `-exponents`, float32, exactly."""
    return torch.tensor([2.0**-exponent for exponent in exponents.tolist()])


def shifted_bias(tensors: Mapping[str, Tensor]) -> Tensor:
    """The bias of a block's first perceptron layer with λ's shift taken through it, `(256, 2 C)`; ½ to round by."""
    shift = tensors["shift"].double() @ tensors["up"].double().T
    bias = (shift * (1 / SHIFT_FRACTIONS)).round() + tensors["up_bias"]
    return (bias * halvings(tensors["up_exponent"]) + 0.5).float()


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Wide integers as high, -127 … 127, and low, -128 … 127: `SPLIT · high + low`."""
    high = ((x + SPLIT // 2) * (1 / SPLIT)).floor_()
    return high, torch.sub(x, high, alpha=SPLIT)


def _agree(fast: Linear, sure: Linear, weights: Tensor, limit: int) -> bool:
    """Whether both give the same for the inputs with the largest sums: at many places at once, at one, at none."""
    largest = limit * weights.float().sign()
    inputs = torch.cat([largest, -largest, torch.full_like(largest[:1], limit)])
    try:
        return all(torch.equal(fast(x.clone()), sure(x.clone())) for x in (inputs, inputs[:1], inputs[:0]))
    except RuntimeError:  # a build of torch without 8-bit products
        return False


def _int8(x: Tensor, ready: Tensor) -> Tensor:
    *places, inputs = x.shape
    x = x.to(torch.int8, memory_format=torch.contiguous_format)  # strides that torch._int_mm reads without error
    return torch._int_mm(x.view(-1, inputs), ready).view(*places, ready.shape[1])


def _joined(high: Tensor, low: Tensor) -> Tensor:
    return high.mul_(SPLIT).add_(low)
