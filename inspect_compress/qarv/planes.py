"""Colour as planes that one mono network can code: grey, and two differences to it.

The three planes are an orthogonal transform of RGB divided by √3. The grey plane of a grey picture is that
picture, and the squared error of the planes sums to three times the mean squared error of R, G and B times
1/3 each, so one λ serves all planes and mono alike.
"""

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


def to_planes(image: Image) -> NDArray[np.float32]:
    """`(H, W)` to `(1, H, W)` and `(H, W, 3)` to `(3, H, W)`: float32, grey in [0, 1], differences about 0.5."""
    if image.ndim == 2:
        return (image[None] / np.float32(255)).astype(np.float32)
    planes = np.einsum("pc,hwc->phw", _TO_PLANES / 255, image) + _ZERO[:, None, None]
    return planes.astype(np.float32)


def from_planes(planes: NDArray[np.float32]) -> Image:
    """The inverse of `to_planes`, rounded to `uint8`."""
    if len(planes) == 1:
        return _to_uint8(planes[0] * np.float32(255))
    centred = planes.astype(np.float64) - _ZERO[:, None, None]
    return _to_uint8(np.einsum("cp,phw->hwc", _TO_RGB * 255, centred))


def _to_uint8(samples: NDArray[np.floating]) -> Image:
    return np.clip(np.rint(samples), 0, 255).astype(np.uint8)
