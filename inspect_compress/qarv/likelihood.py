"""The probability of a quantized residual under its prior: a discretised Gaussian with a thin heavy tail.

The tail (0.05 % of a Laplace distribution of scale 20 steps) bounds the cost of what training never showed;
a Gaussian alone would charge hundreds of bits for it.
"""

import math

import torch
from torch import Tensor

SCALE_MIN, SCALE_MAX, SCALE_STEPS = 0.1, 800.0, 64
"""Scales that have a table of probabilities, in quantization steps, log-spaced."""
LOG_SCALE_MIN = math.log(SCALE_MIN)
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_STEPS - 1)

TAIL_WEIGHT = 0.0005
TAIL_SCALE = 20.0
_SQRT_HALF = 0.5**0.5


def probability(steps: Tensor, scale: Tensor) -> Tensor:
    """Probability of the unit interval around `steps`; `scale` is the Gaussian's deviation, in steps."""
    distance = steps.abs()
    inverse = _SQRT_HALF / scale
    gaussian = 0.5 * (torch.erfc((distance - 0.5) * inverse) - torch.erfc((distance + 0.5) * inverse))
    tail = torch.exp(-distance / TAIL_SCALE) / (2 * TAIL_SCALE)
    return (1 - TAIL_WEIGHT) * gaussian + TAIL_WEIGHT * tail


def scale_index(log_scale: Tensor) -> Tensor:
    """The row of the tables for the logarithm of a scale in steps: uint8, 0 to 63, same shape."""
    index = torch.round((log_scale - LOG_SCALE_MIN) / LOG_SCALE_STEP)
    return torch.nan_to_num(index).clamp(0, SCALE_STEPS - 1).to(torch.uint8)
