"""What is asked of a file: exactly one of a quality, a size, a fidelity, or regions that have priority."""

from dataclasses import dataclass

import numpy as np

from inspect_compress.codecs import check_quality
from inspect_compress.errors import ConfigError
from inspect_compress.images import Image


@dataclass(frozen=True)
class Priority:
    """`mask`: `uint8` weights, `(H, W)` as the image's; 0 is background, 255 priority, and between is between.

    Qualities are 1 to 100. Raises ConfigError for a mask or a quality that cannot be meant.
    """

    mask: Image
    background_quality: int
    priority_quality: int

    def __post_init__(self) -> None:
        check_quality(self.background_quality)
        check_quality(self.priority_quality)
        if self.mask.dtype != np.uint8 or self.mask.ndim != 2:
            raise ConfigError(
                f"the priority mask is {self.mask.dtype} of shape {self.mask.shape}: it must be 8-bit grey"
            )
        if not self.mask.any():
            raise ConfigError("the priority mask is zero all over: it marks no region")
        if self.priority_quality <= self.background_quality:
            raise ConfigError(
                f"priority quality {self.priority_quality} is not above background quality {self.background_quality}"
            )

    def check_fits(self, image: Image) -> None:
        """Raises ConfigError where the mask is not of the image's size."""
        height, width = image.shape[:2]
        if self.mask.shape != (height, width):
            mask_height, mask_width = self.mask.shape
            raise ConfigError(
                f"the priority mask has {mask_width}x{mask_height} pixels and the image {width}x{height}"
            )


@dataclass(frozen=True)
class Demand:
    """Exactly one of the first five; with `priority` none or one, but no quality: it has two of its own.

    `quality` 1 to 100; at most `max_bytes`, or at most `bpp` bits of file for each pixel; of the decoded picture,
    `min_psnr` in dB, or `min_ms_ssim` from 0 to 1 (see `fidelity`), or more. With another demand, only the
    difference between the qualities of `priority` counts. Raises ConfigError for what cannot be meant.
    """

    quality: int | None = None
    bpp: float | None = None
    max_bytes: int | None = None
    min_psnr: float | None = None
    min_ms_ssim: float | None = None
    priority: Priority | None = None

    def __post_init__(self) -> None:
        wishes = {name: value for name, value in vars(self).items() if name != "priority" and value is not None}
        if self.priority and self.quality is not None:
            raise ConfigError("quality and priority exclude each other: priority has two qualities of its own")
        if len(wishes) > 1 or not (wishes or self.priority):
            names = "quality, bpp, max_bytes, min_psnr, min_ms_ssim"
            raise ConfigError(f"exactly one of {names} is needed; given: {', '.join(wishes) or 'none'}")
        if self.quality is not None:
            check_quality(self.quality)
        for name, value in wishes.items():
            if not value > 0:
                raise ConfigError(f"{name} {value}: must be more than 0")
        if self.min_ms_ssim is not None and self.min_ms_ssim >= 1:
            raise ConfigError(f"min_ms_ssim {self.min_ms_ssim}: must be less than 1, which is without loss")

    def budget(self, image: Image) -> int | None:
        """The most bytes for an image; None where no size was asked for."""
        return self.max_bytes if self.bpp is None else int(self.bpp * image.shape[0] * image.shape[1] / 8)
