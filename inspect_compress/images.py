"""Images in and out of files: `uint8` arrays, `(H, W)` mono or `(H, W, 3)` RGB, and `uint16` ones, `(H, W)`.

What cannot be represented without loss (16-bit colour, palette, CMYK, alpha, several frames) is refused, never
converted silently. Pixels come as they are stored: an EXIF orientation is not applied, since turning a
frame would part it from its mask and from what its detector was trained on; colour profiles are not either.
"""

import io
import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import TiffImagePlugin, WebPImagePlugin

from inspect_compress.errors import ImageError
from inspect_compress.files import read_file, write_file

Image = NDArray[np.uint8 | np.uint16]
"""`uint8`, `(H, W)` or `(H, W, 3)`; or `uint16`, `(H, W)`: mono of 10, 12 or 16 bits, a *deep* image."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
MAX_SIDE = 8192

_PNG_DEPTH_OFFSET = 24
"""Where the bit depth stands in a PNG file: signature 8, chunk head 8, width 4, height 4. PNG, 11.2.1."""
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_PPM_HEADER_BYTES = 4096

PICTURE_FORMATS = (
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
    "I": "has more than 8 bits per sample in a form that is not read; save it as 16-bit grey PNG or TIFF",
    "F": "has floating-point samples; save it as 8-bit or 16-bit grey",
    "1": "has 1 bit per sample; save it as 8-bit grey",
}
_DEEP_MODES = ("I;16", "I;16B", "I;16L")
DEPTHS = (10, 12, 16)
"""Bits per sample that a deep image may have."""


def read_image(path: Path) -> Image:
    """Read a grey or RGB file of 8 bits, or a grey one of 16, as it is: `uint8` or `uint16`.

    Raises ImageError, naming the file and the reason, for anything else.
    """
    path = Path(path)
    try:
        data = read_file(path)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{path}: is empty (zero bytes)")
    return image_from_bytes(data, str(path))


def read_8_bit_image(path: Path) -> Image:
    """As `read_image`, for work that takes 8-bit images only: raises ImageError for a deep one too."""
    return check_image(read_image(path), str(path))


def image_from_bytes(data: bytes, name: str) -> Image:
    """Decode an image file held in memory; `name` stands for it in errors. See `read_image`."""
    try:
        with PillowImage.open(io.BytesIO(data), formats=PICTURE_FORMATS) as file:
            _check_size(file.width, file.height, name)
            reason = _unsupported(file, data)
            if reason:
                raise ImageError(f"{name}: {reason}")
            file.load()
            pixels = np.array(file)
            return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)  # TIFF: of either byte order
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
    """Write an image, 8-bit or deep, as a lossless PNG, whole or not at all."""
    buffer = io.BytesIO()
    PillowImage.fromarray(check_image(image, deep=True)).save(buffer, "PNG")
    write_file(path, buffer.getvalue(), overwrite=overwrite)


def check_image(image: Image, name: str = "image", *, deep: bool = False) -> Image:
    """Return `image` where it is a `uint8` array of `(H, W)` or `(H, W, 3)`, sides 1 to 8192.

    `deep` allows a `uint16` array of `(H, W)` as well. Raises ImageError otherwise.
    """
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
        kind = getattr(image, "dtype", type(image).__name__)
        raise ImageError(f"{name}: is of type {kind}; only uint8 arrays, and uint16 ones of mono, are supported")
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ImageError(f"{name}: has shape {image.shape}; only (H, W) and (H, W, 3) are supported")
    _check_size(image.shape[1], image.shape[0], name)
    if image.dtype == np.uint16 and image.ndim == 3:
        raise ImageError(f"{name}: is RGB of more than 8 bits (uint16); only mono may have them")
    if image.dtype == np.uint16 and not deep:
        raise ImageError(
            f"{name}: has {bit_depth(image)} bits per sample (uint16); only 8-bit images (uint8) are taken here. "
            "Convert it to 8 bits, or keep it as it is with the codec png, or jxl at quality 100"
        )
    return image


def bit_depth(image: Image) -> int:
    """Bits per sample: 8 of a `uint8` image; of a `uint16` one the fewest of 10, 12 and 16 that hold its samples.

    A 16-bit file does not say how many bits its camera has, so a dark image of 12 bits counts as one of 10.
    """
    if image.dtype == np.uint8:
        return 8
    return next(depth for depth in DEPTHS if int(image.max()) < 1 << depth)


def sample_bytes(image: Image) -> bytes:
    """The samples as bytes, row by row, RGB interleaved, 16-bit ones little-endian: what is hashed."""
    return image.astype(image.dtype.newbyteorder("<"), copy=False).tobytes()


def halved(image: Image) -> Image:
    """Half the height and width of a `uint8` image, at least 1: each sample is the mean of 2×2."""
    size = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


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
    """Why an opened file is not one plain image, 8-bit grey or RGB or 16-bit grey; empty where it is."""
    if file.format == "PNG" and b"IEND" not in data:  # Pillow reads on as long as it finds pixels
        return "is damaged or cut short: it has no end chunk"
    frames = getattr(file, "n_frames", 1)
    if frames != 1:
        return f"holds {frames} frames; save each as a file of its own first"
    deep = file.mode in _DEEP_MODES
    if file.mode not in ("L", "RGB") and not deep:
        return _REFUSED.get(file.mode, f"is of mode {file.mode}; only grey and RGB are supported")
    if "transparency" in file.info:
        return "has an alpha channel; remove it first"
    if deep and getattr(file, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return "is a 16-bit TIFF whose white is zero; save it with black as zero"
    depth = _stored_depth(file, data)
    if depth == (16 if deep else 8):
        return ""
    return f"has {depth} bits per sample; only grey and RGB of 8 bits, and grey of 16, are supported"


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
