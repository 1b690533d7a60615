"""Colour as planes that one mono network can code: grey, and two differences to it.

The three planes are an orthogonal transform of RGB divided by √3. The grey plane of a grey picture is that
picture, and the squared error of the planes sums to three times the mean squared error of R, G and B times
1/3 each, so one λ serves all planes and mono alike. A sample of a halved difference plane stands for four, so
four times λ serves it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspect_compress.images import Image
from inspect_compress.qarv.threads import side_by_side

_TO_PLANES = np.array(
    [
        [1 / 3, 1 / 3, 1 / 3],
        [1 / 6**0.5, 0, -(1 / 6**0.5)],
        [1 / 18**0.5, -2 / 18**0.5, 1 / 18**0.5],
    ]
)
RGB = 255 * (3 * _TO_PLANES.T).copy()
"""Of each plane in each colour, `(3, 3)`."""
ZEROS = np.array([0, 0.5, 0.5])
"""Added so that a plane without any difference is mid-grey: where the network expects its mean."""


_ROWS = 32
"""Rows that are turned into colours at a time, so that they stay in the processor's cache."""

Planes = NDArray[np.float32]
"""Planes that are coded together, `(P, H, W)`: grey in [0, 1], differences about 0.5."""


def to_planes(image: Image, *, halved: bool = False) -> list[Planes]:
    """`(H, W)` to one plane, and `(H, W, 3)` to three, each on its own.

    With `halved`, the difference planes are means of 2×2 samples, `(2, ⌈H/2⌉, ⌈W/2⌉)`, and coded together.
    """
    if image.ndim == 2:
        return [(image[None] / np.float32(255)).astype(np.float32)]
    planes = np.empty((3, *image.shape[:2]), np.float32)

    def fill(start: int) -> None:
        rows = slice(start, start + _ROWS)
        planes[:, rows] = np.tensordot(_TO_PLANES / 255, image[rows], (1, 2)) + ZEROS[:, None, None]

    side_by_side(fill, range(0, len(image), _ROWS))
    return [planes[:1], _halve(planes[1:])] if halved else [planes[:1], planes[1:2], planes[2:]]


def from_planes(parts: Sequence[Planes]) -> Image:
    """The inverse of `to_planes`, rounded to `uint8`; halved differences are interpolated linearly."""
    if len(parts) == 1:
        return _to_uint8(parts[0][0] * np.float32(255))
    height, width = parts[0].shape[1:]
    whole = [
        part if part.shape[1:] == (height, width) else _double(_double(part, 1), 2)[:, :height, :width]
        for part in parts
    ]
    planes = np.concatenate(whole)
    image = np.empty((height, width, 3), np.uint8)

    def fill(start: int) -> None:
        rows = slice(start, start + _ROWS)
        grey, first, second = planes[:, rows].astype(np.float64) - ZEROS[:, None, None]
        for channel, (a, b, c) in enumerate(RGB):
            image[rows, :, channel] = _to_uint8(a * grey + b * first + c * second)

    side_by_side(fill, range(0, height, _ROWS))
    return image


def plane_shapes(height: int, width: int, channels: int, *, halved: bool) -> list[tuple[int, int, int]]:
    """The shapes of what `to_planes` makes."""
    if halved:
        return [(1, height, width), (2, -(-height // 2), -(-width // 2))]
    return [(1, height, width)] * channels


def _halve(planes: Planes) -> Planes:
    _, height, width = planes.shape
    even = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / np.float32(4)


def _double(planes: Planes, axis: int) -> Planes:
    """Twice the samples along an axis, each at a quarter of the way to a neighbour."""
    near, far = planes * np.float32(0.75), planes * np.float32(0.25)
    last = planes.shape[axis] - 1
    before = far.take([0, *range(last)], axis)
    after = far.take([*range(1, last + 1), last], axis)
    doubled = np.stack([near + before, near + after], axis=axis + 1)
    return doubled.reshape([side * 2 if number == axis else side for number, side in enumerate(planes.shape)])


def _to_uint8(samples: NDArray[np.floating]) -> Image:
    return np.clip(np.rint(samples), 0, 255).astype(np.uint8)
