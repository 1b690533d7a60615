"""The integer probability tables of the entropy coder: one for each of 64 scales, computed once and shipped.

Every probability is a multiple of 2^-24 and the sum is exactly one, so no entropy coder has anything to round.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from inspect_compress.qarv.likelihood import LOG_SCALE_MIN, LOG_SCALE_STEP, SCALE_STEPS, probability

PRECISION = 24
TOTAL = 1 << PRECISION
_RADIUS_IN_DEVIATIONS = 6
_LEAST_RADIUS = 16


def radius(index: int) -> int:
    """The largest symbol of a table; its entries are -radius … radius, then the escape."""
    return int(np.ceil(_RADIUS_IN_DEVIATIONS * _scale(index))) + _LEAST_RADIUS


def gaussian_tables() -> list[NDArray[np.int32]]:
    """One table for each scale: `2 · radius + 2` int32 frequencies of at least 1 that sum to 2^24."""
    return [_frequencies(index) for index in range(SCALE_STEPS)]


def _frequencies(index: int) -> NDArray[np.int32]:
    r = radius(index)
    symbols = torch.arange(-r, r + 1, dtype=torch.float64)
    inside = probability(symbols, torch.tensor(_scale(index), dtype=torch.float64)).numpy()
    return to_frequencies(np.append(inside, max(0.0, 1 - inside.sum())))


def to_frequencies(probabilities: NDArray[np.float64]) -> NDArray[np.int32]:
    """Round probabilities to int32 frequencies of at least 1 that sum to 2^24; the likeliest takes the rest."""
    spare = TOTAL - len(probabilities)
    frequencies = 1 + np.floor(probabilities / probabilities.sum() * spare).astype(np.int64)
    frequencies[np.argmax(frequencies)] += TOTAL - frequencies.sum()
    return frequencies.astype(np.int32)


def _scale(index: int) -> float:
    return float(np.exp(LOG_SCALE_MIN + LOG_SCALE_STEP * index))
