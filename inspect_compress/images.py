"""Images in and out of files: `uint8` arrays, `(H, W)` mono or `(H, W, 3)` RGB, and nothing else.

What cannot be represented without loss (16 bit, palette, CMYK, alpha, several frames) is refused, never
converted silently. Pixels come as they are stored: an EXIF orientation is not applied, since turning a
frame would part it from its mask and from what its detector was trained on; colour profiles are not either.
"""

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import TiffImagePlugin, WebPImagePlugin

from inspect_compress.errors import ImageError
from inspect_compress.files import write_file

Image = NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
MAX_SIDE = 8192

_PNG_DEPTH_OFFSET = 24
"""Where the bit depth stands in a PNG file: signature 8, chunk head 8, width 4, height 4. PNG, 11.2.1."""
_TIFF_BITS_PER_SAMPLE = 258
_PPM_HEADER_BYTES = 4096

_FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    TiffImagePlugin.TiffImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    "PPM",
)
"""What Pillow may try: it can read more, some of it through other programs. Naming TIFF and WebP by their
modules loads these; unlike the other formats they are not there from the start."""

_REFUSED = {
    "P": "is a palette image; convert it to grey or RGB first",
    "PA": "is a palette image with alpha; convert it to grey or RGB first",
    "LA": "has an alpha channel; remove it first",
    "La": "has an alpha channel; remove it first",
    "RGBA": "has an alpha channel; remove it first",
    "RGBa": "has an alpha channel; remove it first",
    "CMYK": "is a CMYK image; convert it to RGB first",
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
        with PillowImage.open(io.BytesIO(data), formats=_FORMATS) as file:
            _check_size(file.width, file.height, name)
            reason = _unsupported(file, data)
            if reason:
                raise ImageError(f"{name}: {reason}")
            file.load()
            return np.array(file)
    except ImageError:
        raise
    except PillowImage.DecompressionBombError as error:
        raise ImageError(f"{name}: is too large; sides must be 1 to {MAX_SIDE} pixels") from error
    except PillowImage.UnidentifiedImageError as error:
        known = ", ".join(sorted(SUFFIXES))
        raise ImageError(f"{name}: is not an image of a known format ({known}), or is damaged") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise ImageError(f"{name}: is damaged or cut short: {error}") from error


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


def _unsupported(file: PillowImage.Image, data: bytes) -> str:
    """Why an opened file is not one plain 8-bit grey or RGB image; empty where it is."""
    if file.format == "PNG" and b"IEND" not in data:  # Pillow reads on as long as it finds pixels
        return "is damaged or cut short: it has no end chunk"
    frames = getattr(file, "n_frames", 1)
    if frames != 1:
        return f"holds {frames} frames; save each as a file of its own first"
    if file.mode not in ("L", "RGB"):
        return _REFUSED.get(file.mode, f"is of mode {file.mode}; only 8-bit grey and RGB are supported")
    if "transparency" in file.info:
        return "has an alpha channel; remove it first"
    depth = _stored_depth(file, data)
    return "" if depth == 8 else f"has {depth} bits per sample; only 8-bit images are supported"


def _stored_depth(file: PillowImage.Image, data: bytes) -> int:
    """Bits per sample in the file: Pillow opens 16-bit RGB, 4-bit grey and scaled PPM as 8 bit."""
    if file.format == "PNG":
        return data[_PNG_DEPTH_OFFSET]
    if file.format == "TIFF":
        return int(max(getattr(file, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (8,))))
    if file.format == "PPM":
        return _ppm_depth(data)
    return 8


def _ppm_depth(data: bytes) -> int:
    """Bits that the largest sample value of a PGM or PPM header takes; 255 gives 8, and 254 counts as 7."""
    header = re.sub(rb"#[^\n]*", b"", data[:_PPM_HEADER_BYTES]).split(maxsplit=4)
    return (int(header[3]) + 1).bit_length() - 1
