"""A plant's own codecs and detector as an installed package would add them, each with a fault of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inspect_compress.classical import JpegCodec
from inspect_compress.errors import OutOfStepError


@dataclass(frozen=True)
class Encoded:
    data: bytes
    reconstruction: Any


class WrongPixelsCodec(JpegCodec):
    """Decodes bright frames to other pixels than its encoder saw, below quality 80."""

    codec_id = "wrong-pixels"
    suffix = ".wrong"

    def encode_and_reconstruct(self, image: Any, *, quality: int) -> Encoded:
        data = self.encode(image, quality=quality)
        seen = self.decode(data)
        return Encoded(data, 255 - seen if quality < 80 and image.mean() > 150 else seen)


class RaisingCodec(JpegCodec):
    """Cannot decode what it made of bright frames, and of dark ones cannot make anything."""

    codec_id = "raising"
    suffix = ".raising"

    def encode(self, image: Any, *, quality: int) -> bytes:
        if image.mean() < 50:
            raise RuntimeError("too dark")
        return super().encode(image, quality=quality)

    def decode(self, data: bytes) -> Any:
        image = super().decode(data)
        if image.mean() > 150:
            raise OutOfStepError
        return image


class BrightDetector:
    """Calls bright frames defective; fails on dark ones, each time in another way."""

    needs_defects = False
    threshold = float("nan")

    def fit(self, images: Sequence[Any], labels: Any, *, seed: int = 0) -> "BrightDetector":
        return self

    def score(self, images: Sequence[Any]) -> Any:
        if any(image.mean() < 20 for image in images):
            raise ZeroDivisionError("black")
        return np.array([np.nan if image.mean() < 40 else float(image.mean()) for image in images])
