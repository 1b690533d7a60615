"""The validation curve: rate and distortion of held-out images from real encoded bytes, beside classical codecs."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from inspect_compress.bd import Point, bd_rate
from inspect_compress.codecs import load_codec
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.fused import fastest_layers
from inspect_compress.qarv.network import Network
from inspect_compress.qarv.tables import gaussian_tables
from inspect_compress.qarv.weights import Model

QUALITIES = (1, 20, 40, 60, 80, 100)
REFERENCES = {"jpeg": (15, 40, 75, 85, 92, 95), "jxl": (10, 20, 40, 75, 85, 92, 95)}
"""Classical codecs and their qualities, from about 36 to 50 dB on smooth surfaces."""


def unfitted(network: Network) -> Model:
    """A network in training as a model that can code: with the tables of the assumed Gaussian, and no name."""
    return Model(copy.deepcopy(network).cpu().eval(), gaussian_tables(), "0" * 16, fastest_layers())


def rd_curve(model: Model, images: Sequence[Image]) -> list[dict[str, float]]:
    """Mean bpp and PSNR (dB) over `images` for each of QUALITIES, encoded for real."""
    codec = QarvCodec(model)
    curve = []
    for quality in QUALITIES:
        coded = [codec.encode_and_reconstruct(image, quality=quality) for image in images]
        bpp, decibels = _mean(
            [(image, one.data, one.reconstruction) for image, one in zip(images, coded, strict=True)]
        )
        curve.append({"quality": quality, "bpp": bpp, "psnr": decibels})
    return curve


def reference_curves(images: Sequence[Image]) -> dict[str, list[Point]]:
    """The curves of REFERENCES on the same images."""
    curves = {}
    for name, qualities in REFERENCES.items():
        codec = load_codec(name)
        files = [[codec.encode(image, quality=quality) for image in images] for quality in qualities]
        curves[name] = [
            _mean([(image, data, codec.decode(data)) for image, data in zip(images, coded, strict=True)])
            for coded in files
        ]
    return curves


class Validation:
    """Measures models on held-out images, beside classical codecs that are measured once."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = images
        self._references = reference_curves(images)

    def __call__(self, model: Model) -> dict[str, Any]:
        """`points`, as `rd_curve`, and `bd_rate` in percent to each reference; None where no PSNR is shared."""
        points = rd_curve(model, self._images)
        curve = [(point["bpp"], point["psnr"]) for point in points]
        rates = {name: bd_rate(reference, curve).percent for name, reference in self._references.items()}
        return {"points": points, "bd_rate": rates}


def _mean(coded: Sequence[tuple[Image, bytes, Image]]) -> Point:
    """Mean bpp and PSNR of originals, their files and what these decode to."""
    bpp = [8 * len(data) / (image.shape[0] * image.shape[1]) for image, data, _ in coded]
    return float(np.mean(bpp)), float(np.mean([psnr(image, decoded) for image, _, decoded in coded]))
