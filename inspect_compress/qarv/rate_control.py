"""The step of λ that meets a demand: the file that uses a budget, or the smallest that is near enough to the image.

Each draft costs about an encoding, so guesses are good and attempts few.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from inspect_compress.demand import Demand
from inspect_compress.errors import ConfigError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image
from inspect_compress.qarv.draft import Draft
from inspect_compress.qarv.expectation import Curve
from inspect_compress.qarv.rounding import PRICE
from inspect_compress.qarv.search import Search

WELL_USED = 0.97
"""The part of a budget from which a file is taken as it is."""

_AIM = 0.985
_NEAR = 1.01
"""How far beyond the budget an expected size may lie for the true one to be looked at."""
_FINER_ATTEMPTS = 3
_HIGHEST_PRICE = 5 * PRICE
_LOG_BYTES_A_DOUBLING = 0.06
"""What a file shrinks by, about, where rounding's price doubles."""


class Drafting(Protocol):
    """Codes the picture at an index of λ, and at a price of rounding (see `rounding`)."""

    def __call__(self, index: int, price: float = PRICE) -> Draft: ...


def within_bytes(draft: Drafting, guess: Curve, budget: int) -> Draft:
    """The draft of the highest λ whose file has at most `budget` bytes, or one that uses WELL_USED of them.

    Raises ConfigError where the smallest file has more.
    """
    search = Search(guess, math.log(budget + 0.5))
    best: Draft | None = None
    while not search.over:
        index = search.next(math.log(_AIM * budget))
        attempt = draft(index)
        size = _size(attempt, budget)
        search.add(index, math.log(size))
        if size <= budget and (best is None or len(best.data) < size):
            best = attempt
            if size >= WELL_USED * budget:
                return best
    if best is None:
        raise ConfigError(f"a file of at most {budget} bytes is impossible: the smallest has {len(draft(0).data)}")
    return best if search.above == len(guess) else _finer(draft, search.above, budget, best)


def _size(draft: Draft, budget: int) -> float:
    """The file's size where it may fit, what is expected of it otherwise."""
    return len(draft.data) if draft.expected_bytes <= _NEAR * budget else draft.expected_bytes


def _finer(draft: Drafting, index: int, budget: int, best: Draft) -> Draft:
    """Between two steps of λ: the higher one, with residuals rounded to 0 more often, or else `best`."""
    excess = math.log(draft(index).expected_bytes / (_AIM * budget))
    doublings, shrinking = 0.0, _LOG_BYTES_A_DOUBLING
    for _ in range(_FINER_ATTEMPTS):
        doublings = min(doublings + excess / shrinking, math.log2(_HIGHEST_PRICE / PRICE))
        attempt = draft(index, PRICE * 2**doublings)
        size = _size(attempt, budget)
        if len(best.data) < size <= budget:
            best = attempt
        if WELL_USED * budget <= size <= budget:
            break
        excess = math.log(size / (_AIM * budget))
    return best


def at_least(draft: Drafting, guess: Curve, demand: Demand, image: Image) -> Draft:
    """The draft of the lowest λ whose picture is as near to the image as was demanded.

    Raises ConfigError where the highest λ is not near enough.
    """
    name, floor, measure = _fidelity(demand)
    search = Search(guess if demand.min_psnr else 1.1 * guess - 24, _decibels(name, floor))
    best: Draft | None = None
    nearest = (-math.inf, 0)
    while not search.over:
        index = search.next(_decibels(name, floor))
        attempt = draft(index)
        value = measure(image, attempt.reconstruction)
        search.add(index, _decibels(name, value))
        nearest = max(nearest, (value, index))
        if search.above == index:
            best = attempt
    if best is None:
        value, index = nearest
        raise ConfigError(f"{name} {floor} is impossible: the most is {value:.4g}, in {len(draft(index).data)} bytes")
    return best


def _fidelity(demand: Demand) -> tuple[str, float, Callable[[Image, Image], float]]:
    if demand.min_psnr is not None:
        return "min_psnr", demand.min_psnr, psnr
    assert demand.min_ms_ssim is not None
    return "min_ms_ssim", demand.min_ms_ssim, ms_ssim


def _decibels(name: str, value: float) -> float:
    """PSNR as it is; MS-SSIM as -10 log10(1 - x), which grows with λ about as PSNR does."""
    if name == "min_psnr":
        return value
    return float(-10 * np.log10(1 - value)) if value < 1 else math.inf
