"""Reads the validation curve of a model card. Whether the curve is true, the card alone cannot show."""

import math
import re
from itertools import pairwise

from inspect_compress.errors import ModelError
from inspect_compress.settings import Settings

FEWEST_POINTS = 3
"""Qualities that make a curve."""

_QUALITY = re.compile(r"quality (\d{1,3})")
_POINT = re.compile(r"([0-9.]{1,12}) bpp, ([0-9.]{1,12}) dB")


class CurvePoint(Settings):
    """Mean bits per pixel and PSNR (dB) of the held-out images at one quality."""

    quality: int
    bpp: float
    psnr: float


def read_curve(card: str, name: str) -> tuple[CurvePoint, ...]:
    """The last row of the card's table of `quality N` columns. Raises ModelError, which begins with `name`.

    A row is refused that has too few points, or in which a higher quality has not more bits and a higher PSNR.
    """
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in card.splitlines()]
    heads = [number for number, row in enumerate(rows) if any(_QUALITY.fullmatch(cell) for cell in row)]
    if not heads:
        raise ModelError(f"{name}: has no validation curve; give the card that training or `adapt` wrote")
    head = rows[heads[-1]]
    below = rows[heads[-1] + 1 :]
    table = [row for row in below[: _length(below)] if len(row) == len(head)]
    last = table[-1] if table else []
    found = [(_QUALITY.fullmatch(above), _POINT.fullmatch(cell)) for above, cell in zip(head, last, strict=False)]
    points = [
        CurvePoint(quality=int(quality[1]), bpp=_number(point[1]), psnr=_number(point[2]))
        for quality, point in found
        if quality and point
    ]
    points.sort(key=lambda point: point.quality)
    rising = all(a.quality < b.quality and a.bpp < b.bpp and a.psnr < b.psnr for a, b in pairwise(points))
    if len(points) < FEWEST_POINTS or not rising:
        raise ModelError(
            f"{name}: its validation curve is no curve: it needs {FEWEST_POINTS} qualities or more, as "
            "`0.350 bpp, 45.03 dB`, and more bits and decibels at each higher one"
        )
    return tuple(points)


def _length(rows: list[list[str]]) -> int:
    """How many rows the table has: up to the first empty line."""
    return next((number for number, row in enumerate(rows) if row == [""]), len(rows))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
