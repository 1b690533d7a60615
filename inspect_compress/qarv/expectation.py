"""What a file will be like at each λ, guessed from the picture alone: where the search for a demand begins.

A transform coder whose steps follow λ spends ½ log2(1 + c² / θ) bits on a coefficient c, with the water level θ that
the loss implies (T. Berger, "Rate Distortion Theory", 1971, section 4.5), and leaves an error of θ, or of c² where
it is rounded to 0. The offsets to what the network does were fitted by hand to 24 training images; where they are off
for a picture, that costs an attempt and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter1d

from inspect_compress.images import Image
from inspect_compress.qarv.network import DISTORTION_WEIGHT

Curve = NDArray[np.float64]
"""One value for each index of λ."""

_PEAK = 255.0
_BLOCK = 16
_MOST_BLOCKS = 4096
_BINS = 300
_SMOOTH = 4
"""Steps of λ over which errors are averaged: bins pass the dead zone one by one."""
_LEAST_POWER = 1e-4
_DEAD_ZONE = 0.6
"""Steps below which a coefficient is rounded to 0."""
_SSIM_CONSTANT = 58.5
"""C2 of SSIM (see `fidelity`)."""


@dataclass(frozen=True)
class Expectation:
    """The natural logarithm of the file's bytes; PSNR in dB; MS-SSIM x as -10 log10(1 - x)."""

    log_bytes: Curve
    psnr: Curve
    ms_ssim: Curve


def expect(image: Image, lmbdas: Sequence[float]) -> Expectation:
    """What to expect of a `uint8` image at each λ."""
    grey = image.astype(np.float32) if image.ndim == 2 else image.mean(axis=2, dtype=np.float32)
    power, share = _power_histogram(grey)
    level = _PEAK**2 / (2 * DISTORTION_WEIGHT * np.array(lmbdas))[:, None]
    bits = (0.5 * np.log2(1 + power / level)) @ share
    error = np.where(power < _DEAD_ZONE**2 * 12 * level, power, level) @ share
    place = np.linspace(0, 1, len(lmbdas))
    psnr = gaussian_filter1d(10 * np.log10(_PEAK**2 / error), _SMOOTH, mode="nearest") - 0.1 - 2.1 * place**4
    return Expectation(
        log_bytes=np.log(grey.size / 8) + 0.24 + 1.33 * np.log(bits),
        psnr=psnr,
        ms_ssim=0.54 * psnr + 11.1 * place + 0.65 * _masking(grey) - 20.1,
    )


def _masking(grey: NDArray[np.float32]) -> float:
    """How much contrast hides errors, in dB: SSIM divides an error's power by about twice the local variance."""
    mean, square = (cv2.GaussianBlur(part, (11, 11), 1.5) for part in (grey, grey * grey))
    variance = np.maximum(square - mean * mean, 0)
    return float(-10 * np.log10(np.mean(1 / (2 * variance + _SSIM_CONSTANT))))


def _power_histogram(grey: NDArray[np.float32]) -> tuple[Curve, Curve]:
    """Squared coefficients of the picture's blocks, by size, and the share of each among all."""
    grey = np.pad(grey, [(0, -side % _BLOCK) for side in grey.shape], mode="edge")
    rows, columns = (side // _BLOCK for side in grey.shape)
    blocks = grey.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)
    blocks = blocks[:: -(-len(blocks) // _MOST_BLOCKS)]
    power = np.square(dctn(blocks, axes=(1, 2), norm="ortho")).ravel()
    counts, edges = np.histogram(np.log(power + _LEAST_POWER), _BINS)
    return np.exp((edges[:-1] + edges[1:]) / 2), counts / counts.sum()
