"""What decoding left of a defect: fidelity inside its mask, its edges, its contrast. No detector here.

Edges and contrast are gains: the decoded image is projected onto what made the defect stand out from its
surroundings in the original, so that neither noise that a codec removed nor artefacts that it added count.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import ImageError
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image

MARGIN = 2
"""Pixels around the mask that belong to the defect's edges."""
RING = 8
"""Pixels beyond the margin that are its surroundings."""
MIN_RING = 16
"""Fewest pixels that can stand for the surroundings; with fewer, there are none."""
LEAST = 0.05
"""Least excess over the surroundings, as a share of theirs, with which a defect stands out at all."""

_Stack = NDArray[np.float64]


@dataclass(frozen=True)
class DefectFidelity:
    """What is left of one frame's defects.

    `mask_psnr`: dB over the samples in the mask, infinite where none changed. `edges_kept` and
    `contrast_kept`: shares of one, of the original's; NaN where the original's defect had none to lose. All
    NaN where there is no mask or it is empty.
    """

    mask_psnr: float
    edges_kept: float
    contrast_kept: float


NO_DEFECT = DefectFidelity(math.nan, math.nan, math.nan)


def defect_fidelity(original: Image, decoded: Image, mask: NDArray[np.bool_] | None) -> DefectFidelity:
    """Compare two images of one shape and type, `(H, W)` or `(H, W, 3)`, at the defect.

    `mask`: bool `(H, W)`, True on the defect. Formulas: docs/metrics.md. Raises ImageError where the mask or
    the decoded image is of another shape.
    """
    if mask is None or not mask.any():
        return NO_DEFECT
    if mask.shape != original.shape[:2]:
        raise ImageError(f"mask: has shape {mask.shape}, its image {original.shape[:2]}")
    inside = psnr(original, decoded, mask)
    box = _box(mask, MARGIN + RING + 1)
    before, after = (_stack(image[box]) for image in (original, decoded))
    defect = _dilated(mask[box], MARGIN)
    ring = _dilated(mask[box], MARGIN + RING) & ~defect
    edges = _kept(_gradients(before), _gradients(after), defect, ring)
    return DefectFidelity(inside, edges, _contrast_kept(before, after, mask[box], ring))


def _contrast_kept(before: _Stack, after: _Stack, defect: NDArray[np.bool_], ring: NDArray[np.bool_]) -> float:
    """Offset of the mean and excess of the spread against the surroundings, kept; spread alone without any."""
    spread_before, spread_after = before - _mean(before, defect), after - _mean(after, defect)
    if ring.sum() < MIN_RING:
        return _kept(spread_before, spread_after, defect, ring)
    offset_before = _mean(before, defect) - _mean(before, ring)
    offset_after = _mean(after, defect) - _mean(after, ring)
    rest_before, rest_after = before - _mean(before, ring), after - _mean(after, ring)
    own, around = _product(spread_before, spread_before, defect), _product(rest_before, rest_before, ring)
    common = _product(spread_before, spread_after, defect) - _product(rest_before, rest_after, ring)
    sign = math.copysign(1.0, own - around)
    there = float((offset_before**2).sum()) + abs(own - around)
    left = float((offset_before * offset_after).sum()) + sign * common
    return _share(left, there, around)


def _kept(before: _Stack, after: _Stack, defect: NDArray[np.bool_], ring: NDArray[np.bool_]) -> float:
    """The share of the defect's excess energy over the surroundings that `after` still has in common."""
    own, common = _product(before, before, defect), _product(before, after, defect)
    if ring.sum() < MIN_RING:
        return _share(common, own, 0.0)
    around = _product(before, before, ring)
    excess = own - around
    left = common - _product(before, after, ring)
    return _share(math.copysign(1.0, excess) * left, abs(excess), around)


def _share(left: float, there: float, around: float) -> float:
    """`left / there` between 0 and 1: what was added counts for no loss elsewhere."""
    if there <= LEAST * around or there == 0:
        return math.nan
    return min(max(left / there, 0.0), 1.0)


def _product(first: _Stack, second: _Stack, where: NDArray[np.bool_]) -> float:
    """Mean over pixels of the scalar product of two stacks `(H, W, C)`."""
    return float(np.einsum("nc,nc->", first[where], second[where]) / where.sum())


def _mean(stack: _Stack, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(stack[where].mean(axis=0), np.float64)


def _stack(image: Image) -> _Stack:
    return np.atleast_3d(image).astype(np.float64)


def _gradients(stack: _Stack) -> _Stack:
    """Sobel's derivatives along x and y of each channel."""
    planes = [cv2.Sobel(stack, cv2.CV_64F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1))]
    return np.concatenate([np.atleast_3d(plane) for plane in planes], axis=2)


def _dilated(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)


def _box(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The rows and columns of the mask with a margin, within the image."""
    ys, xs = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, left = max(ys[0] - margin, 0), max(xs[0] - margin, 0)
    return slice(top, ys[-1] + margin + 1), slice(left, xs[-1] + margin + 1)
