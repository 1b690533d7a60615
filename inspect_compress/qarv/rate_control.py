"""The step of λ that meets a demand: the file that uses a budget, or the smallest that is near enough to the image.

Each draft costs about an encoding, so guesses are good and attempts few.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from inspect_compress.demand import Demand
from inspect_compress.errors import ConfigError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image
from inspect_compress.qarv.draft import Draft
from inspect_compress.qarv.expectation import Curve, Expectation
from inspect_compress.qarv.rounding import PRICE
from inspect_compress.qarv.search import Search

_WELL_USED = 0.97
"""The part of a budget from which a file is taken as it is."""
_FEW = 8
"""Bytes that a file may fall short by in any case: of a tiny one, a symbol is a byte."""

_AIM = 0.985
_NEAR = 1.01
"""How far beyond the budget an expected size may lie for the true one to be looked at; in tiny files, _FEW bytes."""
_FINER_STEPS = 3
"""Steps of λ above the one that fits, which are tried with coarser rounding; in small files a symbol is a byte."""
_FINER_ATTEMPTS = 5
_MOST_DOUBLINGS = 3.0
"""Of the price of rounding."""
_SHRINKING = 0.4
"""What they take off the logarithm of a file's size, about."""


class Drafting(Protocol):
    """Codes the picture at an index of λ, and at a price of rounding (see `rounding`).

    `halved`: difference planes at half size; None: as is usual at that λ.
    """

    def __call__(self, index: int, price: float = PRICE, halved: bool | None = None) -> Draft: ...


def within_bytes(draft: Drafting, guess: Curve, budget: int) -> Draft:
    """The draft of the highest λ whose file has at most `budget` bytes, or one that uses them well.

    Raises ConfigError where the smallest file has more.
    """
    search = Search(guess, math.log(budget + 0.5))
    best = _fullest(draft, search, budget)
    if best is None:
        raise ConfigError(f"a file of at most {budget} bytes is impossible: the smallest has {len(draft(0).data)}")
    if search.above == len(guess) or uses(budget, len(best.data)):
        return best
    halved = best.header.halved or None
    if halved and not draft(search.above).header.halved:  # a leap in size, where difference planes become whole
        onward = Search(guess, math.log(budget + 0.5))
        onward.add(search.below, math.log(len(best.data)))
        best, search = _fullest(partial(draft, halved=True), onward, budget) or best, onward
    for index in range(search.above, min(search.above + _FINER_STEPS, len(guess))):
        if uses(budget, len(best.data)):
            break
        best = _finer(partial(draft, halved=halved), index, budget, best)
    return best


def _fullest(draft: Drafting, search: Search, budget: int) -> Draft | None:
    """The largest file within the budget that a search meets; one that uses it well ends the search."""
    best: Draft | None = None
    while not search.over:
        index = search.next(math.log(_AIM * budget))
        attempt = draft(index)
        size = _size(attempt, budget)
        search.add(index, math.log(size))
        if size <= budget and (best is None or len(best.data) < size):
            best = attempt
            if uses(budget, size):
                break
    return best


def uses(budget: int, size: float) -> bool:
    """Whether a file of `size` bytes is within the budget and uses 97 % of it, or all but 8 bytes."""
    return min(_WELL_USED * budget, budget - _FEW) <= size <= budget


def _size(draft: Draft, budget: int) -> float:
    """The file's size where it may fit, what is expected of it otherwise."""
    near = max(_NEAR * budget, budget + _FEW)
    return len(draft.data) if draft.expected_bytes <= near else draft.expected_bytes


def _finer(draft: Drafting, index: int, budget: int, best: Draft) -> Draft:
    """A step of λ that is too high, with residuals rounded to 0 more often, or else `best`.

    The price is found by regula falsi between one that is too low and one that is too high.
    """
    too_low, over = 0.0, math.log(draft(index).expected_bytes / (_AIM * budget))
    too_high, under = _MOST_DOUBLINGS, -_SHRINKING
    for _ in range(_FINER_ATTEMPTS):
        part = over / (over - under)
        doublings = too_low + (too_high - too_low) * min(max(part, 0.1), 0.9)
        attempt = draft(index, PRICE * 2**doublings)
        size = _size(attempt, budget)
        if len(best.data) < size <= budget:
            best = attempt
        if uses(budget, size):
            break
        excess = math.log(size / (_AIM * budget))
        if excess > 0:
            too_low, over = doublings, excess
        else:
            too_high, under = doublings, excess
    return best


def at_least(draft: Drafting, expectation: Expectation, demand: Demand, image: Image) -> Draft:
    """The draft of the lowest λ whose picture is as near to the image as was demanded.

    Raises ConfigError where the highest λ is not near enough.
    """
    name, floor, measure = _fidelity(demand)
    guess = expectation.psnr if demand.min_psnr is not None else expectation.ms_ssim
    search = Search(guess, _decibels(name, floor))
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
