"""The encoder's rounding: towards zero where the bits saved are worth more than the error added.

A decoder needs nothing of this. After the rate–distortion optimised quantization of video encoders (e.g.
G. J. Sullivan and T. Wiegand, "Rate-distortion optimization for video compression", IEEE SPM 15(6), 1998).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from inspect_compress.qarv.range_coder import RADII, SYMBOL_LIMIT, Tables
from inspect_compress.qarv.strips import by_strips

PRICE = 1 / 30
"""Steps that the threshold moves for each nat saved. 1 / 12 is the optimum for a single residual at the step size
that `network` starts from; with what later residuals and the decoder make of it, less was better on images held
out of the training split (docs/training.md)."""
OF_A_ZERO = 1.25
"""How many times the price that is for a 0 instead of a 1: zeros make what is coded after them cheaper, too."""
FURTHEST = 0.3
"""Steps that the threshold moves at most."""

MAGNITUDES = 17
"""From the last of them on, neighbours cost nearly the same, and rounding is plain."""


Rounder = Callable[[Tensor, Tensor], Tensor]
"""Residuals in steps, `(B, N, Z)`, and the rows of their tables, uint8, to integers of at most SYMBOL_LIMIT."""


class Rounding:
    """Rounds residuals by what their neighbours cost in the probability tables (`tables.gaussian_tables`)."""

    def __init__(self, tables: Tables, device: torch.device | str = "cpu", price: float = PRICE) -> None:
        self._threshold = thresholds(tables, price).flatten().to(device)

    def __call__(self, steps: Tensor, rows: Tensor) -> Tensor:
        """The nearest integers, or the next towards 0. See `Rounder`."""

        def part(start: int, stop: int) -> Tensor:
            return self._rounded(steps[:, start:stop], rows[:, start:stop])

        return by_strips(part, steps, steps.shape[1], 1, steps.shape[2])

    def _rounded(self, steps: Tensor, rows: Tensor) -> Tensor:
        magnitude = steps.abs()
        nearest = magnitude.round()
        threshold = self._threshold[rows.int() * MAGNITUDES + nearest.clamp_max(MAGNITUDES - 1).int()]
        rounded = steps.sign() * (nearest - (magnitude - nearest + 0.5 < threshold).float())
        return rounded.clamp_(-SYMBOL_LIMIT, SYMBOL_LIMIT)


def thresholds(tables: Tables, price: float) -> Tensor:
    """How far above the middle between two integers a residual must be for the upper one: by its table and that one's
    magnitude, `(tables, MAGNITUDES)`; the last is for all that are larger, too.
    """
    likely = np.stack([table[start : start + MAGNITUDES - 1] for table, start in zip(tables, RADII, strict=True)])
    saved = np.diff(-np.log(likely)).clip(0)
    saved[:, 0] *= OF_A_ZERO
    return torch.from_numpy(np.pad((price * saved).clip(max=FURTHEST), ((0, 0), (1, 1))).astype(np.float32))
