"""Images in and out of files: `uint8` arrays, `(H, W)` mono or `(H, W, 3)` RGB, and nothing else.

What cannot be represented without loss (16 bit, palette, CMYK, alpha) is refused, never converted silently.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from inspect_compress.errors import ImageError
from inspect_compress.files import write_file

Image = NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
MAX_SIDE = 8192

_REFUSED = {
    "P": "a palette image; convert it to grey or RGB first",
    "PA": "a palette image with alpha; convert it to grey or RGB first",
    "LA": "has an alpha channel; remove it first",
    "La": "has an alpha channel; remove it first",
    "RGBA": "has an alpha channel; remove it first",
    "RGBa": "has an alpha channel; remove it first",
    "CMYK": "a CMYK image; convert it to RGB first",
    "I": "has more than 8 bits per sample; only 8-bit images are supported",
    "I;16": "has 16 bits per sample; only 8-bit images are supported",
    "I;16B": "has 16 bits per sample; only 8-bit images are supported",
    "I;16L": "has 16 bits per sample; only 8-bit images are supported",
    "F": "has floating-point samples; only 8-bit images are supported",
    "1": "has 1 bit per sample; only 8-bit images are supported",
}


def read_image(path: Path) -> Image:
    """Read an 8-bit grey or RGB file as a `uint8` array, `(H, W)` or `(H, W, 3)`.

    Raises ImageError, naming the file and the reason, for anything else.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{path}: is empty (zero bytes)")
    return image_from_bytes(data, str(path))


def image_from_bytes(data: bytes, name: str) -> Image:
    """Decode an image file held in memory; `name` stands for it in errors. See `read_image`."""
    try:
        with PillowImage.open(io.BytesIO(data)) as file:
            mode, transparent = file.mode, "transparency" in file.info
            _check_size(file.width, file.height, name)
            file.load()
            if mode in ("L", "RGB") and not transparent and not _deeper_than_8_bit(file):
                return np.array(file)
    except ImageError:
        raise
    except PillowImage.UnidentifiedImageError as error:
        raise ImageError(f"{name}: is not an image, or is of a format that is not known") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise ImageError(f"{name}: is damaged or cut short: {error}") from error
    if transparent:
        raise ImageError(f"{name}: has an alpha channel; remove it first")
    reason = _REFUSED.get(mode, f"of mode {mode}; only 8-bit grey and RGB are supported")
    if mode in ("L", "RGB"):
        reason = "has 16 bits per sample; only 8-bit images are supported"
    raise ImageError(f"{name}: {reason}")


def write_png(path: Path, image: Image, *, overwrite: bool = False) -> None:
    """Write a `uint8` image, `(H, W)` or `(H, W, 3)`, as a lossless PNG, whole or not at all."""
    buffer = io.BytesIO()
    PillowImage.fromarray(check_image(image)).save(buffer, "PNG")
    write_file(path, buffer.getvalue(), overwrite=overwrite)


def check_image(image: Image, name: str = "image") -> Image:
    """Return `image` where it is a `uint8` array of `(H, W)` or `(H, W, 3)`, sides 1 to 8192.

    Raises ImageError otherwise.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise ImageError(f"{name}: is of type {kind}; only uint8 arrays are supported")
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ImageError(f"{name}: has shape {image.shape}; only (H, W) and (H, W, 3) are supported")
    _check_size(image.shape[1], image.shape[0], name)
    return image


def list_images(folder: Path) -> list[Path]:
    """All image files below `folder`, sorted by path. Raises ImageError where there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: is not a folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ImageError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))})")
    return found


def _check_size(width: int, height: int, name: str) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ImageError(f"{name}: is {width}x{height} pixels; sides must be 1 to {MAX_SIDE}")


def _deeper_than_8_bit(file: PillowImage.Image) -> bool:
    """Whether Pillow silently reduced deeper samples to 8 bit while opening (16-bit RGB PNG, TIFF, PPM)."""
    return _png_bit_depth(file) > 8 or _tiff_bit_depth(file) > 8


def _png_bit_depth(file: PillowImage.Image) -> int:
    stream = getattr(file, "fp", None) or getattr(file, "_fp", None)
    if file.format != "PNG" or stream is None:
        return 8
    stream.seek(24)
    return int(stream.read(1)[0])


def _tiff_bit_depth(file: PillowImage.Image) -> int:
    bits = getattr(file, "tag_v2", {}).get(258, (8,))
    return max(bits) if isinstance(bits, tuple) else int(bits)
