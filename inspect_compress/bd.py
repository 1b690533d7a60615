"""Bjøntegaard-delta rate: how many percent more or fewer bits a codec needs for an anchor's fidelity.

Says also whether the curves allow the question, and what speaks against the answer.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]
"""Bits per pixel and fidelity in dB."""

MIN_POINTS = 4
"""Fewest points of a curve: the interpolation through fewer says more about itself than about the codec."""
MIN_OVERLAP = 0.5
"""Least share of the anchor's range that both curves cover for a mean that stands for the anchor."""
MIN_INSIDE = 2
"""Fewest points of each curve within the shared range: between fewer, the curves there are mere guesses."""


@dataclass(frozen=True)
class BdRate:
    """A BD-rate, or why there is none: exactly one of `percent` and `reason` is set."""

    percent: float | None
    """Mean difference in bits at equal fidelity, in percent of the anchor's; negative means fewer bits."""
    reason: str = ""
    span: tuple[float, float] | None = None
    """The range of fidelity that both curves cover and over which the mean was taken."""
    overlap: float | None = None
    """That range as a share of the anchor's."""
    doubt: str = ""
    """What speaks against relying on it; empty where nothing does."""

    @property
    def reliable(self) -> bool:
        return self.percent is not None and not self.doubt


def bd_rate(anchor: Sequence[Point], test: Sequence[Point], *, metric: str = "PSNR") -> BdRate:
    """Compare two rate–fidelity curves over the range of fidelity that they share, by Akima interpolation.

    Points may come in any order. Points without a finite fidelity (lossless) are left out, and so is any point
    that another one of its curve beats (as good for no more bits), since a curve must rise. It is not reliable
    where a point was beaten, where less than MIN_OVERLAP of the anchor's range is shared, or where a curve has
    fewer than MIN_INSIDE points in it.
    Method: Herglotz et al., "The Bjøntegaard Bible", TIP 2024 (package `bjontegaard`).
    """
    curves = {"the anchor": rising(anchor), "the codec": rising(test)}
    for name, curve in curves.items():
        if len(curve) < MIN_POINTS:
            return BdRate(None, f"{name} has {len(curve)} usable points; {MIN_POINTS} are needed")
    low = max(curve[0][1] for curve in curves.values())
    high = min(curve[-1][1] for curve in curves.values())
    if low >= high:
        spans = [f"{curve[0][1]:.1f}-{curve[-1][1]:.1f} dB" for curve in curves.values()]
        return BdRate(None, f"the curves share no range of {metric} ({spans[0]} and {spans[1]})")
    first, second = curves.values()
    overlap = (high - low) / (first[-1][1] - first[0][1])
    inside = {name: sum(low <= value <= high for _, value in curve) for name, curve in curves.items()}
    beaten = {
        name: len(_usable(points)) - len(curves[name]) for name, points in zip(curves, (anchor, test), strict=True)
    }
    return BdRate(_akima(first, second), "", (low, high), overlap, doubt_of(overlap, inside) or _unrising(beaten))


def rising(points: Sequence[Point]) -> list[Point]:
    """The points of a curve that no other point beats, by rising bpp and fidelity; finite and above zero only."""
    kept: list[Point] = []
    for bpp, value in sorted(_usable(points), key=lambda point: (point[0], -point[1])):
        if not kept or value > kept[-1][1]:
            kept.append((bpp, value))
    return kept


def doubt_of(overlap: float, inside: Mapping[str, int]) -> str:
    """Why a mean over a shared range does not stand for the anchor's, or nothing.

    `overlap`: the range as a share of the anchor's. `inside`: points in the range, by the name of the curve.
    """
    if overlap < MIN_OVERLAP:
        return f"the curves share only {overlap:.0%} of the anchor's range; {MIN_OVERLAP:.0%} are needed"
    for name, count in inside.items():
        if count < MIN_INSIDE:
            return f"{name} has {count} points in the shared range; {MIN_INSIDE} are needed"
    return ""


def _usable(points: Sequence[Point]) -> set[Point]:
    return {(bpp, value) for bpp, value in points if np.isfinite((bpp, value)).all() and bpp > 0}


def _unrising(beaten: Mapping[str, int]) -> str:
    for name, count in beaten.items():
        if count:
            return (
                f"{name} does not rise: {count} of its points were left out, as another is as good for no more bits"
            )
    return ""


def _akima(anchor: list[Point], test: list[Point]) -> float:
    import bjontegaard

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a small overlap, which `overlap` tells
        return float(
            bjontegaard.bd_rate(
                *zip(*anchor, strict=True),
                *zip(*test, strict=True),
                method="akima",
                require_matching_points=False,
                min_overlap=0,
            )
        )
