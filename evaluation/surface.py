"""A generated metal surface of any size, for timing: the same frame every time, and nobody's property."""

import numpy as np

from inspect_compress.images import Image


def surface(shape: tuple[int, ...]) -> Image:
    """Brushed metal with a gradient of light, always the same."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    brushed = rng.normal(0, 6, (shape[0], 1)) + rng.normal(0, 3, shape[:2])
    plate = 110 + 40 * np.sin(x / 300) + 20 * np.cos(y / 200) + brushed
    if len(shape) == 3:
        plate = plate[..., None] * (1.0, 0.85, 0.6)
    return np.clip(plate, 0, 255).astype(np.uint8)
