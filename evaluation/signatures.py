"""What a frame looks like in 2 KB, so that pictures of the same thing are found among thousands that look alike.

A signature is for finding copies, whole and not turned; it is no measure of quality and no feature for a detector.

It is the phase of the frame's low frequencies, and two signatures are compared by band-limited phase-only
correlation (Ito et al., IEICE Trans. Fundamentals E87-A(3), 2004). Amplitudes are left out, so that neither light
nor what all frames of a product have in common by their smooth shape counts. What remains in common (busbars,
printed marks, the outline of the part) is taken out as principal components; see `common_patterns`.
"""

from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from inspect_compress.images import Image

Signatures = NDArray[np.uint8]
"""`(frames, LENGTH)`: phases in steps of 2π/255, row by row; `_ABSENT` where the frame holds no such frequency."""

Vectors = NDArray[np.float32]
"""`(frames, 2 * LENGTH)`."""

CYCLES = 32
"""Highest frequency that counts, in cycles per side of the frame."""
LENGTH = 2 * CYCLES * CYCLES

_GRID = 4 * CYCLES
"""Samples per side that a frame is brought to first."""
_SHIFTS = (-2, -1, 0, 1, 2)
"""Shifts tried along each side, in samples of the grid: up to 1.6 % of the side."""
_LEVELS, _ABSENT = 255, 255

_SAMPLE = 2000
"""Most frames that the common patterns are learnt from."""
_MOST_PATTERNS = 16
_PATTERN_WEIGHT = 10.0
"""A common pattern adds up to this many whole frames; one part pictured a few times does not."""
_PATTERN_SHARE, _PATTERN_FRAMES = 0.05, 20
"""It is carried by this share of the frames, and by this many (as the participation ratio counts them)."""

_BLOCK = 512
"""Frames compared with as many others at a time: about 40 MB."""

_WINDOW = np.outer(np.hanning(_GRID + 2)[1:-1], np.hanning(_GRID + 2)[1:-1]).astype(np.float32)
_ROWS = np.r_[-CYCLES:0, 1 : CYCLES + 1]
_COLUMNS = np.arange(1, CYCLES + 1)
_PHASORS = np.append(np.exp(2j * np.pi * np.arange(_LEVELS) / _LEVELS), 0).astype(np.complex64)


_one_core = threadpool_limits.wrap(limits=1, user_api="blas")
"""The products are small: threads of BLAS would mostly wait for each other, on a busy machine for very long."""


def signature(image: Image) -> Signatures:
    """The signature `(LENGTH,)` of an image: cycles along the rows and columns themselves (stripes) are left out."""
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    small = cv2.resize(grey, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean(axis=0, keepdims=True)
    small -= small.mean(axis=1, keepdims=True)
    spectrum = np.fft.fft2(small * _WINDOW)[np.ix_(_ROWS, _COLUMNS)]
    codes = np.round(np.angle(spectrum) * (_LEVELS / (2 * np.pi))) % _LEVELS
    held = (np.abs(_ROWS)[:, None] < height / 2) & (width / 2 > _COLUMNS) & (np.abs(spectrum) > 0)
    return np.where(held, codes, _ABSENT).astype(np.uint8).ravel()


@_one_core
def common_patterns(signatures: Signatures) -> Vectors:
    """What many frames have in common, as orthonormal rows `(patterns, 2 * LENGTH)`; often none.

    They are the leading principal components, as far as they weigh as much as several whole frames and are
    carried by many: a part that was pictured a few times makes no pattern.
    """
    frames = signatures[:: -(-len(signatures) // _SAMPLE)]
    if len(frames) <= _PATTERN_FRAMES:
        return np.zeros((0, 2 * LENGTH), np.float32)
    units = _units(_expanded(frames))
    _, values, patterns = randomized_svd(units, _MOST_PATTERNS, random_state=0)
    loads = (units @ patterns.T) ** 2
    carriers = loads.sum(axis=0) ** 2 / np.maximum((loads**2).sum(axis=0), np.finfo(np.float32).tiny)
    common = (values**2 >= _PATTERN_WEIGHT) & (carriers >= max(_PATTERN_FRAMES, _PATTERN_SHARE * len(frames)))
    return patterns[common]


@_one_core
def most_alike(signatures: Signatures, others: Signatures, patterns: Vectors) -> tuple[Vectors, NDArray[np.int64]]:
    """For each of `signatures` how alike it is to the most alike of `others` (1 the same, 0 nothing), and which."""
    likeness = np.full(len(signatures), -1, np.float32)
    which = np.zeros(len(signatures), np.int64)
    for start in range(0, len(others), _BLOCK):
        block = _units(_without(_expanded(others[start : start + _BLOCK]), patterns))
        for first in range(0, len(signatures), _BLOCK):
            rows = slice(first, first + _BLOCK)
            found = _best_of_shifts(signatures[rows], block, patterns)
            better = found.max(axis=1) > likeness[rows]
            which[rows] = np.where(better, start + found.argmax(axis=1), which[rows])
            likeness[rows] = np.maximum(likeness[rows], found.max(axis=1))
    return likeness, which


@_one_core
def alike_pairs(signatures: Signatures, patterns: Vectors, least: float) -> NDArray[np.int64]:
    """The pairs of frames that are at least so much alike: `(pairs, 2)`, the lower index second."""
    found = []
    for start in range(0, len(signatures), _BLOCK):
        block = _units(_without(_expanded(signatures[start : start + _BLOCK]), patterns))
        for first in range(start, len(signatures), _BLOCK):
            likeness = _best_of_shifts(signatures[first : first + _BLOCK], block, patterns)
            found.append(np.argwhere(likeness >= least) + np.array([first, start]))
    pairs = np.concatenate(found)
    return pairs[pairs[:, 0] > pairs[:, 1]]


def _best_of_shifts(signatures: Signatures, block: Vectors, patterns: Vectors) -> Vectors:
    """The correlations `(signatures, block)`, each at the shift where it is highest."""
    best = np.full((len(signatures), len(block)), -1, np.float32)
    for down, right in product(_SHIFTS, _SHIFTS):
        ramp = np.exp(-2j * np.pi / _GRID * (_ROWS[:, None] * down + _COLUMNS * right)).astype(np.complex64)
        moved = _units(_without(_expanded(signatures, ramp.ravel()), patterns))
        np.maximum(best, moved @ block.T, out=best)
    return best


def _expanded(signatures: Signatures, ramp: NDArray[np.complex64] | None = None) -> Vectors:
    """Phases as points on the circle, real and imaginary parts in turn: `(frames, 2 * LENGTH)`."""
    points = _PHASORS[signatures]
    if ramp is not None:
        points *= ramp
    return points.view(np.float32)


def _without(vectors: Vectors, patterns: Vectors) -> Vectors:
    return np.asarray(vectors - vectors @ patterns.T @ patterns, np.float32)


def _units(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
