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

_TO_PLANES = np.array(
    [
        [1 / 3, 1 / 3, 1 / 3],
        [1 / 6**0.5, 0, -(1 / 6**0.5)],
        [1 / 18**0.5, -2 / 18**0.5, 1 / 18**0.5],
    ]
)
_TO_RGB = 3 * _TO_PLANES.T
_ZERO = np.array([0, 0.5, 0.5])
"""Added so that a plane without any difference is mid-grey: where the network expects its mean."""


Plane = NDArray[np.float32]


def to_planes(image: Image, *, halved: bool = False) -> list[Plane]:
    """`(H, W)` to one plane and `(H, W, 3)` to three: float32, `(H, W)`, grey in [0, 1], differences about 0.5.

    With `halved`, the differences are means of 2×2 samples, `(⌈H/2⌉, ⌈W/2⌉)`.
    """
    if image.ndim == 2:
        return [(image / np.float32(255)).astype(np.float32)]
    planes = np.einsum("pc,hwc->phw", _TO_PLANES / 255, image) + _ZERO[:, None, None]
    grey, *differences = planes.astype(np.float32)
    return [grey, *(_halve(plane) if halved else plane for plane in differences)]


def from_planes(planes: Sequence[Plane]) -> Image:
    """The inverse of `to_planes`, rounded to `uint8`; halved differences are interpolated linearly."""
    if len(planes) == 1:
        return _to_uint8(planes[0] * np.float32(255))
    size = planes[0].shape
    whole = [plane if plane.shape == size else _double(_double(plane).T).T[: size[0], : size[1]] for plane in planes]
    centred = np.stack(whole).astype(np.float64) - _ZERO[:, None, None]
    return _to_uint8(np.einsum("cp,phw->hwc", _TO_RGB * 255, centred))


def plane_sizes(height: int, width: int, channels: int, *, halved: bool) -> list[tuple[int, int]]:
    """The sizes of the planes of a picture, as `to_planes` makes them."""
    difference = (-(-height // 2), -(-width // 2)) if halved else (height, width)
    return [(height, width), *[difference] * (channels - 1)]


def _halve(plane: Plane) -> Plane:
    even = np.pad(plane, [(0, side % 2) for side in plane.shape], mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / np.float32(4)


def _double(plane: Plane) -> Plane:
    """Twice the rows, at a quarter of the way to the neighbours."""
    near = plane * np.float32(0.75)
    far = np.pad(plane, ((1, 1), (0, 0)), mode="edge") * np.float32(0.25)
    return np.stack([near + far[:-2], near + far[2:]], axis=1).reshape(-1, plane.shape[1])


def _to_uint8(samples: NDArray[np.floating]) -> Image:
    return np.clip(np.rint(samples), 0, 255).astype(np.uint8)
