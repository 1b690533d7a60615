"""`.qarv` files as Pillow's images. Registered by `inspect_compress_pillow.py`, which loads this at the first file.

Opening reads and checks the file, but decodes no pixel and imports no torch; `load`, which Pillow calls when pixels
are wanted, decodes.
"""

import os
from typing import IO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from inspect_compress.errors import ConfigError, FormatError, ImageError, InspectCompressError
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.shared import DEFAULT_QUALITY, shared_codec
from inspect_compress_pillow import FORMAT

_MODES = {(1, 8): "L", (3, 8): "RGB"}
"""Pillow's name for a picture of so many channels and bits per sample."""

_TARGETS = ("quality", "bpp", "max_bytes", "min_psnr", "min_ms_ssim")
"""The options of `Image.save` that are passed on to the codec."""


class QarvImageFile(ImageFile.ImageFile):
    """A `.qarv` file: mode L or RGB.

    Opening raises UnidentifiedImageError, and loading OSError, both with the codec's reason, where the file is
    damaged, is of a newer version or names a model that is not installed. No pixel of such a file is ever shown.
    """

    format = FORMAT
    format_description = "QARV inspection frame"
    _data = b""
    """The file while its pixels have not been decoded."""

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        try:
            header = read_container(data).header
        except FormatError as error:
            raise UnidentifiedImageError(self._message(error)) from error
        self._mode = _MODES[header.channels, header.bit_depth]
        self._size = header.width, header.height
        self._data = data

    def load(self) -> "Image.core.PixelAccess | None":
        """Decode the picture, the first time. Raises OSError."""
        data = self._data
        if data:
            try:
                pixels = shared_codec().decode(data)
            except InspectCompressError as error:
                raise OSError(self._message(error)) from error
            self.im = Image.frombytes(self.mode, self.size, pixels.tobytes()).im
            self.readonly = 0
            self._data = b""
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()

    def _message(self, error: InspectCompressError) -> str:
        return f"{os.fsdecode(self.filename) or 'QARV file'}: {error}"


def save(image: Image.Image, file: IO[bytes]) -> None:
    """Write an image of mode L or RGB; among the options of `Image.save` is one of a `Demand`, or quality is 60.

    Pixels only: like every format that has no place for them, it leaves profiles and EXIF data behind. Raises
    OSError for another mode or a side over 8192, ValueError for an option out of range.
    """
    if image.mode not in _MODES.values():
        raise OSError(
            f"cannot write mode {image.mode} as {FORMAT}: it holds 8-bit grey and RGB only; "
            "use convert('L') or convert('RGB') first"
        )
    options = {name: image.encoderinfo[name] for name in _TARGETS if name in image.encoderinfo}
    try:
        data = shared_codec().encode(np.asarray(image), **options or {"quality": DEFAULT_QUALITY})
    except ConfigError as error:
        raise ValueError(str(error)) from error
    except ImageError as error:
        raise OSError(f"cannot write as {FORMAT}: {error}") from error
    file.write(data)
