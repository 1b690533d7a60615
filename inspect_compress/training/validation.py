"""The validation curve: rate and distortion of held-out images from real encoded bytes."""

import copy
from collections.abc import Sequence

import numpy as np

from inspect_compress.fidelity import psnr
from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.network import Network
from inspect_compress.qarv.tables import gaussian_tables
from inspect_compress.qarv.weights import Model

QUALITIES = (1, 20, 40, 60, 80, 100)


def unfitted(network: Network) -> Model:
    """A network in training as a model that can code: with the tables of the assumed Gaussian, and no name."""
    return Model(copy.deepcopy(network).cpu().eval(), gaussian_tables(), "0" * 16)


def rd_curve(model: Model, images: Sequence[Image]) -> list[dict[str, float]]:
    """Mean bpp and PSNR (dB) over `images` for each of QUALITIES, encoded for real."""
    codec = QarvCodec(model)
    curve = []
    for quality in QUALITIES:
        bpp, distortion = [], []
        for image in images:
            coded = codec.encode_and_reconstruct(image, quality=quality)
            bpp.append(8 * len(coded.data) / (image.shape[0] * image.shape[1]))
            distortion.append(psnr(image, coded.reconstruction))
        curve.append({"quality": quality, "bpp": float(np.mean(bpp)), "psnr": float(np.mean(distortion))})
    return curve
