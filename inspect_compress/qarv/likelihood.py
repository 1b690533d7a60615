"""The probability of a quantized residual under its prior: a discretised Gaussian with a thin heavy tail.

The tail (0.05 % of a Laplace distribution of scale 20 steps) bounds the cost of what training never showed;
a Gaussian alone would charge hundreds of bits for it.
"""

import torch
from torch import Tensor

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
