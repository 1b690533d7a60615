"""The encoder's rounding: towards zero where the bits saved are worth more than the error added.

A decoder needs nothing of this. After the rate–distortion optimised quantization of video encoders (e.g.
G. J. Sullivan and T. Wiegand, "Rate-distortion optimization for video compression", IEEE SPM 15(6), 1998).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inspect_compress.qarv.tables import radius

PRICE = 1 / 30
"""Steps that the threshold moves for each nat saved. 1 / 12 is the optimum for a single residual at the step size
that `network` starts from; with what later residuals and the decoder make of it, less was better on images held
out of the training split (docs/training.md)."""
FURTHEST = 0.3
"""Steps that the threshold moves at most."""

_MAGNITUDES = 16
"""From this magnitude on, neighbours cost nearly the same, and rounding is plain."""


class Rounding:
    """Rounds residuals by what their neighbours cost in the probability tables (`tables.gaussian_tables`)."""

    def __init__(
        self, tables: list[NDArray[np.int32]], device: torch.device | str = "cpu", price: float = PRICE
    ) -> None:
        threshold = torch.zeros(len(tables), _MAGNITUDES + 1)
        for row, table in enumerate(tables):
            start = radius(row)
            nats = -np.log(table[start : start + _MAGNITUDES])
            saved = torch.from_numpy(np.diff(nats)).clamp_min(0)
            threshold[row, 1:_MAGNITUDES] = (price * saved).clamp_max(FURTHEST)
        self._threshold = threshold.flatten().to(device)

    def __call__(self, steps: Tensor, rows: Tensor) -> Tensor:
        """Integers for real `steps`, whose tables are `rows` (uint8, same shape): the nearest, or one nearer to 0."""
        magnitude = steps.abs()
        nearest = magnitude.round()
        threshold = self._threshold[rows.int() * (_MAGNITUDES + 1) + nearest.clamp_max(_MAGNITUDES).int()]
        return steps.sign() * (nearest - (magnitude - nearest + 0.5 < threshold).float())
