"""QARV as a codec of numcodecs, and so of Zarr: `numcodecs.get_codec({"id": "qarv", "quality": 70})`.

numcodecs finds it by entry point, and is needed by this module only (extra `numcodecs`).
"""

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray

from inspect_compress.demand import Demand
from inspect_compress.errors import ImageError
from inspect_compress.images import Image, check_image
from inspect_compress.qarv.shared import DEFAULT_QUALITY, shared_codec


class Qarv(Codec):
    """**Lossy**: what is decoded is close to what was encoded, and not the same. Use it for pictures only.

    An array must be one picture, `uint8`, `(H, W)` or `(H, W, 3)`, sides 1 to 8192; axes of length 1 may stand before
    these, as in a Zarr chunk of `(1, H, W)`. An encoded array is a whole `.qarv` file.
    """

    codec_id = "qarv"

    def __init__(
        self,
        quality: int | None = None,
        bpp: float | None = None,
        max_bytes: int | None = None,
        min_psnr: float | None = None,
        min_ms_ssim: float | None = None,
    ) -> None:
        """One of what a `Demand` is; a quality of 60 where nothing is given. Raises ConfigError.

        All public attributes are configuration, which numcodecs stores, and what the encoder is asked for.
        """
        if quality is bpp is max_bytes is min_psnr is min_ms_ssim is None:
            quality = DEFAULT_QUALITY
        demand = Demand(quality, bpp, max_bytes, min_psnr, min_ms_ssim)
        for name, value in vars(demand).items():
            if value is not None:
                setattr(self, name, value.item() if isinstance(value, np.generic) else value)

    def encode(self, buf: Any) -> bytes:
        """The `.qarv` file of a picture. Raises ImageError where the array is not one."""
        return shared_codec().encode(_picture(ensure_ndarray(buf)), **vars(self))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The picture, `uint8`, `(H, W)` or `(H, W, 3)`; or `out`, filled with it, where that is given.

        Raises FormatError for bytes that are not a sound file, ImageError where `out` is of another size.
        """
        image = shared_codec().decode(ensure_bytes(buf))
        if out is None:
            return image
        target = ensure_ndarray(out).view(np.uint8)
        if target.nbytes != image.nbytes:
            raise ImageError(f"out: has {target.nbytes} bytes, and the picture {image.nbytes}")
        np.copyto(target, image.reshape(target.shape))
        return out


def _picture(array: Any) -> Image:
    """The array without the axes of length 1 that stand before those of a picture."""
    while array.ndim > 2 and array.shape[0] == 1 and not (array.ndim == 3 and array.shape[2] == 3):
        array = array[0]
    return check_image(array, "chunk")
