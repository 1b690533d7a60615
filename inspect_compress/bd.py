"""Bjøntegaard-delta rate: how many percent more or fewer bits a codec needs for an anchor's PSNR."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]
"""Bits per pixel and PSNR in dB."""

MIN_POINTS = 4
"""Fewest points of a curve: the interpolation through fewer says more about itself than about the codec."""


@dataclass(frozen=True)
class BdRate:
    """A BD-rate, or why there is none: exactly one of `percent` and `reason` is set."""

    percent: float | None
    """Mean difference in bits at equal PSNR, in percent of the anchor's; negative means fewer bits."""
    reason: str = ""
    psnr_range: tuple[float, float] | None = None
    """The range in dB that both curves cover and over which the mean was taken."""


def bd_rate(anchor: Sequence[Point], test: Sequence[Point]) -> BdRate:
    """Compare two rate–distortion curves over the range of PSNR that they share, by Akima interpolation.

    Points may come in any order. Points without a finite PSNR (lossless) are left out, and so is any point
    that another one of its curve beats (as good for no more bits), since a curve must rise.
    Method: Herglotz et al., "The Bjøntegaard Bible", TIP 2024 (package `bjontegaard`).
    """
    curves = [rising(anchor), rising(test)]
    for name, curve in zip(("the anchor", "the codec"), curves, strict=True):
        if len(curve) < MIN_POINTS:
            return BdRate(None, f"{name} has {len(curve)} usable points; {MIN_POINTS} are needed")
    low = max(curve[0][1] for curve in curves)
    high = min(curve[-1][1] for curve in curves)
    if low >= high:
        spans = [f"{curve[0][1]:.1f}-{curve[-1][1]:.1f} dB" for curve in curves]
        return BdRate(None, f"the curves share no range of PSNR ({spans[0]} and {spans[1]})")
    return BdRate(_akima(*curves), psnr_range=(low, high))


def rising(points: Sequence[Point]) -> list[Point]:
    """The points of a curve that no other point beats, by rising bpp and PSNR; finite and above zero only."""
    finite = [point for point in points if np.isfinite(point).all() and point[0] > 0]
    kept: list[Point] = []
    for bpp, psnr in sorted(finite, key=lambda point: (point[0], -point[1])):
        if not kept or psnr > kept[-1][1]:
            kept.append((bpp, psnr))
    return kept


def _akima(anchor: list[Point], test: list[Point]) -> float:
    import bjontegaard

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a small overlap, which `psnr_range` tells
        return float(
            bjontegaard.bd_rate(
                *zip(*anchor, strict=True),
                *zip(*test, strict=True),
                method="akima",
                require_matching_points=False,
                min_overlap=0,
            )
        )
