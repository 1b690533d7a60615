"""The validation curve: rate and distortion of held-out images from real encoded bytes."""

import math
from collections.abc import Sequence

import numpy as np

from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.network import Network
from inspect_compress.qarv.tables import gaussian_tables
from inspect_compress.qarv.weights import Model

QUALITIES = (1, 20, 40, 60, 80, 100)


def rd_curve(network: Network, images: Sequence[Image]) -> list[dict[str, float]]:
    """Mean bpp and PSNR (dB) over `images` for each of QUALITIES, encoded for real."""
    codec = QarvCodec(Model(network, gaussian_tables(), "0" * 16))
    curve = []
    for quality in QUALITIES:
        bpp, psnr = [], []
        for image in images:
            coded = codec.encode_and_reconstruct(image, quality=quality)
            bpp.append(8 * len(coded.data) / (image.shape[0] * image.shape[1]))
            error = np.mean((coded.reconstruction.astype(np.float64) - image) ** 2)
            psnr.append(10 * math.log10(255**2 / max(error, 1e-10)))
        curve.append({"quality": quality, "bpp": float(np.mean(bpp)), "psnr": float(np.mean(psnr))})
    return curve
