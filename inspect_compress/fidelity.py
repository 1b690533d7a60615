"""How far a decoded image is from its original: PSNR and MS-SSIM. No detector here."""

import cv2
import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import ImageError
from inspect_compress.images import Image, bit_depth, check_image

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales, finest first: Wang, Simoncelli and Bovik, Asilomar 2003, section 3.2."""
WINDOW = 11
"""Side of SSIM's Gaussian window in pixels; its standard deviation is `SIGMA`. Wang et al., TIP 2004."""
SIGMA = 1.5
K1, K2 = 0.01, 0.03
"""SSIM's stabilising constants, of the largest sample value. Wang et al., TIP 2004."""

_Plane = NDArray[np.float64]


def psnr(original: Image, decoded: Image, mask: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all samples of two images of one shape and type.

    With a mask, bool `(H, W)` with a true value in it, over the samples where it is true.
    The peak is the largest value of the original's bit depth: 255, and 1023, 4095 or 65535 of a deep image.
    Colour counts every sample of R, G and B alike. Equal images give infinity.
    Raises ImageError where the images are no pair.
    """
    _check_pair(original, decoded)
    difference = original.astype(np.float64) - decoded
    error = float(np.mean((difference if mask is None else difference[mask]) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(_peak(original) ** 2 / error))


def ms_ssim(original: Image, decoded: Image) -> float:
    """Multi-scale structural similarity, 0 to 1, of two images of one shape and type; equal ones give 1.

    After Wang, Simoncelli and Bovik (2003), on luma (BT.601) for colour. Five scales need sides of 176
    pixels; a smaller image uses as many as leave its shorter side 11 pixels, with the weights scaled to
    sum to one, so figures of small images compare only among their like. Below 11 pixels the window
    reaches over the border, where the image is mirrored. Raises ImageError where the images are no pair.
    """
    _check_pair(original, decoded)
    first, second = _luma(original), _luma(decoded)
    weights = np.array(MS_SSIM_WEIGHTS[: _scales(first)])
    weights /= weights.sum()
    result = 1.0
    for scale, weight in enumerate(weights):
        luminance, structure = _ssim_terms(first, second, _peak(original))
        coarsest = scale == len(weights) - 1
        value = float(np.mean(luminance * structure if coarsest else structure))
        result *= max(value, 0.0) ** weight  # a negative mean has no real power: no similarity left
        if not coarsest:
            first, second = _halved(first), _halved(second)
    return float(result)


def _check_pair(original: Image, decoded: Image) -> None:
    check_image(original, "original", deep=True)
    check_image(decoded, "decoded image", deep=True)
    if original.shape != decoded.shape:
        raise ImageError(f"decoded image: has shape {decoded.shape}, its original {original.shape}")
    if original.dtype != decoded.dtype:
        raise ImageError(f"decoded image: is of type {decoded.dtype}, its original of {original.dtype}")


def _peak(original: Image) -> float:
    return 2.0 ** bit_depth(original) - 1


def _luma(image: Image) -> _Plane:
    plane = image.astype(np.float64)
    return plane if image.ndim == 2 else plane @ np.array([0.299, 0.587, 0.114])


def _scales(plane: _Plane) -> int:
    """How many scales leave the shorter side at least one window long; at least one."""
    side = min(plane.shape)
    fitting = sum(side >> scale >= WINDOW for scale in range(len(MS_SSIM_WEIGHTS)))
    return max(fitting, 1)


def _ssim_terms(first: _Plane, second: _Plane, peak: float) -> tuple[_Plane, _Plane]:
    """SSIM's luminance term, and its contrast and structure term, at each position of the window."""
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    mean_1, mean_2 = _windowed(first), _windowed(second)
    variance_1 = _windowed(first * first) - mean_1**2
    variance_2 = _windowed(second * second) - mean_2**2
    covariance = _windowed(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    structure = (2 * covariance + c2) / (variance_1 + variance_2 + c2)
    return luminance, structure


def _windowed(plane: _Plane) -> _Plane:
    """Gaussian means over the window, where the window lies wholly inside (or all, if it fits nowhere)."""
    blurred = cv2.GaussianBlur(plane, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT)
    smooth = np.asarray(blurred, dtype=np.float64).reshape(plane.shape)
    if min(plane.shape) < WINDOW:
        return smooth
    edge = WINDOW // 2
    return smooth[edge:-edge, edge:-edge]


def _halved(plane: _Plane) -> _Plane:
    """Means of 2x2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 for side in plane.shape)
    return plane[: height * 2, : width * 2].reshape(height, 2, width, 2).mean(axis=(1, 3))
