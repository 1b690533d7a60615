"""Fixed, hand-made texture features of an image, shared by the built-in detectors. Nothing here is learned.

An image of any size, mono or RGB, is resized to one working size and passed through a small bank of filters:
differences of Gaussians at six scales, elongated line filters in twelve directions at two scales, gradients,
local binary patterns, and what is left once rows and columns are removed. `summary` pools the responses over
the image into one vector; `patches` pools them over a grid into one vector per cell.

Sources: oriented filter banks with order statistics after Varma and Zisserman (IJCV 2005); uniform local
binary patterns after Ojala, Pietikäinen and Mäenpää (TPAMI 2002).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from inspect_compress.images import Image, check_image

Floats = NDArray[np.float32]

WORKING_SIDE = 256
"""Pixels; every image is resized to a square of this side, so that cells and filters mean the same."""
GRID = 16
"""Cells per side in `patches`."""
DARKNESS_FLOOR = 16.0
"""Grey levels added to the median before dividing by it, so that a black frame does not blow up."""
DIRECTIONS = 12
QUANTILE_SIDE = 64
"""Rows and columns that are sorted for quantiles; sorting a whole map would take most of the time."""
LINE_SIZE, LINE_WIDTH, LINE_LENGTH = 11, 1.2, 3.5
"""Pixels: side of a line filter's kernel, sigma across the line, sigma along it."""

_QUANTILES = np.array([0.002, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.998])
_CELL_QUANTILES = np.array([0.0, 0.02, 0.05, 0.12, 0.3, 0.5, 0.7, 0.88, 0.95, 0.98, 1.0])
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


@dataclass(frozen=True)
class Responses:
    """What the filters answered to one image; all arrays are float32.

    `grey` (256, 256) in grey levels; `half` (128, 128) and `quarter` (64, 64) as contrast against the image's
    median; `chroma` (2, 64, 64), zero for a mono image; `bands` six band-pass maps, fine to coarse, of
    decreasing size; `lines` (12, 128, 128) and (12, 64, 64), positive on a dark line;
    `residual` (128, 128), `half` without its row and column medians.
    """

    grey: Floats
    half: Floats
    quarter: Floats
    chroma: Floats
    bands: tuple[Floats, ...]
    lines: tuple[Floats, Floats]
    residual: Floats


@dataclass(frozen=True)
class Description:
    """What the built-in detectors know of an image; all arrays are float32.

    `whole`: its `summary`. `patches`: signed roots of its `patches`, `(256, channels)`. `local`: its
    `local_descriptors`, empty where they were not asked for.
    """

    whole: Floats
    patches: Floats
    local: Floats


def describe(image: Image, *, local: bool = True) -> Description:
    """Describe a `uint8` image, `(H, W)` or `(H, W, 3)`. Raises ImageError for anything else."""
    responses = respond(image)
    return Description(
        whole=summary(responses),
        patches=signed_roots(patches(responses)).reshape(GRID * GRID, -1),
        local=local_descriptors(responses) if local else np.zeros((0, 0), np.float32),
    )


def respond(image: Image) -> Responses:
    """Filter a `uint8` image, `(H, W)` or `(H, W, 3)`. Raises ImageError for anything else."""
    working = _resized(check_image(image).astype(np.float32), WORKING_SIDE)
    grey = working if working.ndim == 2 else _grey(working)
    median = float(np.median(grey[::2, ::2]))
    full = (grey - median) / (median + DARKNESS_FLOOR)
    half = _resized(full, WORKING_SIDE // 2)
    quarter = _resized(half, WORKING_SIDE // 4)
    residual = half - np.median(half, axis=1, keepdims=True)
    residual -= np.median(residual, axis=0, keepdims=True)
    return Responses(
        grey=grey,
        half=half,
        quarter=quarter,
        chroma=_chroma(working, median),
        bands=_bands(full, half, quarter),
        lines=(_line_responses(half), _line_responses(quarter)),
        residual=residual,
    )


def summary(responses: Responses) -> Floats:
    """The whole image as one float32 vector; its length is the same for every image. Always finite."""
    r = responses
    parts = [_distribution(r.grey), _profiles(r.half)]
    parts += [_sorted_cells(m, _mean_cells) for m in (r.half, r.quarter, r.residual, *r.chroma)]
    parts += [_distribution(m) for m in (r.residual, *r.chroma)]
    for band in r.bands:
        parts += [_distribution(band), _sorted_cells(np.abs(band), _max_cells)]
    for lines in r.lines:
        parts.append(_line_summary(lines))
    for contrast in (r.half, r.quarter):
        parts.append(_gradient_summary(contrast))
    smooth = _blurred(r.half, 1.0)
    patterns = ((r.grey, 1), (r.half, 1), (smooth, 2), (smooth, 4), (r.quarter, 2))
    parts += [_local_binary_patterns(m, radius) for m, radius in patterns]
    return np.concatenate(parts, dtype=np.float32)


def patches(responses: Responses) -> Floats:
    """One float32 vector per grid cell, `(GRID, GRID, channels)`: cell means and maxima of the responses."""
    r = responses
    means = [r.half, r.residual, *r.chroma, *map(np.abs, r.bands), *_by_direction(r.lines)]
    peaks = [*r.bands, *(-band for band in r.bands), *_by_direction(r.lines)]
    cells = [_mean_cells(m, GRID) for m in means] + [_max_cells(m, GRID) for m in peaks]
    return np.ascontiguousarray(np.stack(cells, axis=-1), dtype=np.float32)


def local_descriptors(responses: Responses) -> Floats:
    """Finer and richer than `patches`, `(1024, channels)` float32: one row per cell of a 32 by 32 grid.

    Values are signed square roots, and the first eight channels come once more as means over 3 by 3 cells.
    """
    r, grid = responses, 2 * GRID
    means = [_mean_cells(m, grid) for m in (r.half, r.residual, *map(np.abs, r.bands))]
    peaks = [*r.bands, *(-band for band in r.bands), *(m for lines in r.lines for m in lines)]
    cells = signed_roots(np.stack(means + [_max_cells(m, grid) for m in peaks], axis=-1))
    around = cv2.blur(cells[..., : len(means)], (3, 3))
    return np.concatenate([cells, around], axis=-1).reshape(grid * grid, -1)


def signed_roots(values: Floats) -> Floats:
    """Square roots that keep the sign: features have long tails, which distances should not follow."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _resized(image: Floats, side: int) -> Floats:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _grey(rgb: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)


def _blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32) if sigma else values


def _chroma(working: Floats, median: float) -> Floats:
    """Two opponent colours, red–green and yellow–blue, against the image's median brightness."""
    side = WORKING_SIDE // 4
    if working.ndim == 2:
        return np.zeros((2, side, side), np.float32)
    red, green, blue = np.moveaxis(_resized(working, side), -1, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    return np.asarray(opponents / (median + DARKNESS_FLOOR), np.float32)


def _bands(full: Floats, half: Floats, quarter: Floats) -> tuple[Floats, ...]:
    bands = []
    for contrast, sigmas in ((full, (0.0, 1.0)), (half, (0.0, 1.0, 2.0)), (quarter, (1.0, 2.0, 4.0, 8.0))):
        blurred = [_blurred(contrast, sigma) for sigma in sigmas]
        bands += [fine - coarse for fine, coarse in pairwise(blurred)]
    return tuple(bands)


def _line_kernels() -> list[Floats]:
    reach = LINE_SIZE // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    kernels = []
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        profile = (across / LINE_WIDTH) ** 2 - 1
        kernel = profile * np.exp(-((across / LINE_WIDTH) ** 2 + (along / LINE_LENGTH) ** 2) / 2)
        kernel -= kernel.mean()
        kernels.append((kernel / np.abs(kernel).sum()).astype(np.float32))
    return kernels


_LINE_KERNELS = _line_kernels()


def _line_responses(contrast: Floats) -> Floats:
    responses = np.empty((DIRECTIONS, *contrast.shape), np.float32)
    for kernel, response in zip(_LINE_KERNELS, responses, strict=True):
        cv2.filter2D(contrast, -1, kernel, dst=response, borderType=cv2.BORDER_REFLECT)
    return responses


def _by_direction(lines: tuple[Floats, Floats]) -> list[Floats]:
    """Per scale: the strongest horizontal, vertical and slanting response."""
    slanting = [k for k in range(DIRECTIONS) if k not in (0, DIRECTIONS // 2)]
    return [m for s in lines for m in (s[0], s[DIRECTIONS // 2], s[slanting].max(axis=0))]


def _ordered(values: Floats, quantiles: NDArray[np.float64]) -> Floats:
    flat = np.sort(values, axis=None)
    return flat[np.rint(quantiles * (flat.size - 1)).astype(np.intp)]


def _distribution(values: Floats) -> Floats:
    """Mean, deviation, extremes and quantiles; a large map's quantiles from every n-th row and column."""
    mean, std = cv2.meanStdDev(values.reshape(1, -1))
    stride = max(1, values.shape[0] // QUANTILE_SIDE) if values.ndim == 2 else 1
    quantiles = _ordered(values[::stride, ::stride] if stride > 1 else values, _QUANTILES)
    return np.concatenate([mean[0], std[0], [values.min(), values.max()], quantiles])


def _mean_cells(values: Floats, cells: int) -> Floats:
    return _resized(values, cells)


def _max_cells(values: Floats, cells: int) -> Floats:
    side = values.shape[0] // cells
    rows = values.reshape(cells, side, -1).max(axis=1)
    return rows.reshape(cells, cells, side).max(axis=2)


def _sorted_cells(values: Floats, pool: Callable[[Floats, int], Floats]) -> Floats:
    return _ordered(pool(values, 8), _CELL_QUANTILES)


def _profiles(contrast: Floats) -> Floats:
    """Row and column means and deviations: busbars, missing fingers, dark halves."""
    parts = []
    for axis in (0, 1):
        mean, std = contrast.mean(axis=axis), contrast.std(axis=axis)
        parts += [_distribution(mean), _distribution(np.diff(mean)), _distribution(std)]
    return np.concatenate(parts)


def _line_summary(lines: Floats) -> Floats:
    slanting = lines[[2, 3, 4, 8, 9, 10]].max(axis=0)
    parts = [_distribution(lines.min(axis=0))]
    for strongest in (lines.max(axis=0), slanting):
        parts += [_distribution(strongest), _sorted_cells(strongest, _max_cells)]
    for k in range(DIRECTIONS // 2 + 1):
        mirrored = np.maximum(lines[k], lines[-k])
        parts.append(_distribution(mirrored)[[0, 1, 3, 10, 11, 12]])
    return np.concatenate(parts)


def _gradient_summary(contrast: Floats) -> Floats:
    dx, dy = (np.asarray(cv2.Sobel(contrast, cv2.CV_32F, *axis), np.float32) for axis in ((1, 0), (0, 1)))
    size, angle = (np.asarray(polar, np.float32) for polar in cv2.cartToPolar(dx, dy))
    bins = (angle * (DIRECTIONS / np.pi)).astype(np.intp) % DIRECTIONS
    energy = np.bincount(bins.ravel(), weights=size.ravel(), minlength=DIRECTIONS) / size.size
    share = energy / (energy.sum() + 1e-6)
    cells = [_sorted_cells(size, pool) for pool in (_max_cells, _mean_cells)]
    return np.concatenate([energy, share, _distribution(size), *cells])


def _uniform_codes() -> NDArray[np.intp]:
    """Each of 256 codes to one of 59 bins: 58 with at most two changes around the circle, and the rest."""
    codes = (np.arange(256)[:, None] >> np.arange(8)) & 1
    uniform = (codes != np.roll(codes, 1, axis=1)).sum(axis=1) <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, uniform.sum())


_UNIFORM_CODES = _uniform_codes()


def _local_binary_patterns(values: Floats, radius: int) -> Floats:
    """Shares of the 59 uniform patterns, around at most 128 by 128 of the pixels."""
    side = values.shape[0]
    step = max(1, side // 128)

    def shifted(dy: int, dx: int) -> Floats:
        top, left = radius * (1 + dy), radius * (1 + dx)
        inner = side - 2 * radius
        return values[top : top + inner : step, left : left + inner : step]

    centre = shifted(0, 0)
    code = np.zeros(centre.shape, np.uint8)
    for bit, (dy, dx) in enumerate(_NEIGHBOURS):
        code |= (shifted(dy, dx) > centre) * np.uint8(1 << bit)
    counts = np.bincount(code.ravel(), minlength=256)
    return (np.bincount(_UNIFORM_CODES, weights=counts) / code.size).astype(np.float32)
