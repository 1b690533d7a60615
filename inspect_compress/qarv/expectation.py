"""What a file will be like at each λ, guessed from the picture alone: where the search for a demand begins.

A transform coder whose steps follow λ leaves of a coefficient c what `reverse water-filling` leaves: min(c², θ), at
½ log2(1 + c² / θ) bits, with the water level θ that the loss implies (T. Berger, "Rate Distortion Theory", 1971,
section 4.5). The offsets to what the network does were fitted by hand to training images; that they are a few
decibels or per cent off for a picture costs an attempt, nothing else.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from inspect_compress.images import Image
from inspect_compress.qarv.network import DISTORTION_WEIGHT

Curve = NDArray[np.float64]
"""One value for each index of λ."""

_PEAK = 255.0
_BLOCK = 16
_MOST_BLOCKS = 4096
_BINS = 300
_LEAST_POWER = 1e-4


def expected_curves(image: Image, lmbdas: Sequence[float]) -> tuple[Curve, Curve]:
    """The natural logarithm of the file's bytes, and PSNR in dB, at each λ."""
    power, share = _power_histogram(image)
    level = _PEAK**2 / (2 * DISTORTION_WEIGHT * np.array(lmbdas))[:, None]
    bits = (0.5 * np.log2(1 + power / level)) @ share
    error = np.minimum(power, level) @ share
    pixels = image.shape[0] * image.shape[1]
    log_bytes = np.log(pixels / 8) + 0.27 + 1.33 * np.log(bits)
    decibels = 10 * np.log10(_PEAK**2 / error) - np.linspace(0.9, 3.1, len(lmbdas))
    return log_bytes, decibels


def _power_histogram(image: Image) -> tuple[Curve, Curve]:
    """Squared coefficients of the grey picture's blocks, by size, and the share of each among all."""
    grey = image.astype(np.float32) if image.ndim == 2 else image.mean(axis=2, dtype=np.float32)
    grey = np.pad(grey, [(0, -side % _BLOCK) for side in grey.shape], mode="edge")
    rows, columns = (side // _BLOCK for side in grey.shape)
    blocks = grey.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)
    blocks = blocks[:: -(-len(blocks) // _MOST_BLOCKS)]
    power = np.square(dctn(blocks, axes=(1, 2), norm="ortho")).ravel()
    counts, edges = np.histogram(np.log(power + _LEAST_POWER), _BINS)
    return np.exp((edges[:-1] + edges[1:]) / 2), counts / counts.sum()
