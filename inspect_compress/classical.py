"""The established image formats as codecs, through imagecodecs: what QARV is measured against.

Each runs in one thread, with settings that people use in practice; this is no general interface to them.
"""

import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np

from inspect_compress.codecs import check_quality
from inspect_compress.errors import DamagedFileError, ImageError
from inspect_compress.headers import check_header
from inspect_compress.images import Image, check_image

JPEG_FULL_CHROMA_QUALITY = 90
"""From this quality on JPEG keeps colour at full resolution (4:4:4); below it halves it (4:2:0)."""
J2K_PSNR_RANGE = (25.0, 55.0)
"""PSNR targets in dB that JPEG 2000's qualities 1 and 100 stand for; linear in between."""
WEBP_METHOD = 6
"""libwebp's slowest and densest mode."""
AVIF_SPEED = 4
"""libaom through libavif: 0 is slowest, 10 fastest; slower than 4 gains about a percent."""
JXL_EFFORT = 7
"""libjxl's default."""
JXL_DEEP_EFFORT = 3
"""For images of more than 8 bits. On solar cells and magnetic tiles with 12 bits effort 7 takes 10 times as long for
files from 4 % smaller to 1 % larger."""
PNG_LEVEL = 6
"""zlib's default; 9 takes several times as long for under a percent."""

_WEBP_GREY_CHUNK = b"GREY" + struct.pack("<I", 0)
_AVIF_GREY_BOX = struct.pack(">I", 8) + b"GREY"
_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND\xae\x42\x60\x82"


class JpegCodec:
    """JPEG (libjpeg-turbo) with optimised Huffman tables.

    Colour is stored as 4:2:0 below quality 90 and as 4:4:4 from there on.
    """

    codec_id = "jpeg"
    suffix = ".jpg"
    model = ""

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`; `quality` is libjpeg's own."""
        image, quality = _checked(image, quality)
        chroma = "444" if quality >= JPEG_FULL_CHROMA_QUALITY else "420"
        subsampling = chroma if image.ndim == 3 else None
        return bytes(imagecodecs.jpeg8_encode(image, quality, optimize=True, subsampling=subsampling))

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`. Raises DamagedFileError for bytes that are not a whole JPEG file."""
        image = _decoded("JPEG", imagecodecs.jpeg8_decode, data)
        if not data.rstrip(b"\0").endswith(_JPEG_END):  # libjpeg fills what is missing with grey
            raise DamagedFileError("not a sound JPEG file: it is cut short (no end marker)")
        return image


class Jpeg2000Codec:
    """JPEG 2000 (OpenJPEG), irreversible 9/7 wavelet, as a bare codestream.

    `quality` 1 to 100 is a PSNR target of 25 to 55 dB, linear. The encoder stays below it, more so
    at the high end: on solar cells it gives 39.2 dB for 39.8, 46.4 for 47.4 and 50.4 for 52.9.
    """

    codec_id = "jpeg2000"
    suffix = ".j2k"
    model = ""

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`, to the PSNR that `quality` stands for."""
        image, quality = _checked(image, quality)
        low, high = J2K_PSNR_RANGE
        target = low + (high - low) * (quality - 1) / 99
        options: dict[str, Any] = {"level": target, "codecformat": "j2k", "reversible": False}
        return bytes(imagecodecs.jpeg2k_encode(image, **options, numthreads=1))

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`. Raises DamagedFileError for bytes that are not a whole file."""
        return _decoded("JPEG 2000", imagecodecs.jpeg2k_decode, data, numthreads=1)


class WebpCodec:
    """Lossy WebP (libwebp), method 6.

    WebP has no grey mode: a mono image is stored as colour without colour, and an empty `GREY` chunk of
    8 bytes, which other readers skip, marks the file so that mono comes back mono.
    """

    codec_id = "webp"
    suffix = ".webp"
    model = ""

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`; `quality` is libwebp's own."""
        image, quality = _checked(image, quality)
        data = bytes(
            imagecodecs.webp_encode(_as_rgb(image), quality, lossless=False, method=WEBP_METHOD, numthreads=1)
        )
        return data if image.ndim == 3 else _append_riff_chunk(data, _WEBP_GREY_CHUNK)

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`. Raises DamagedFileError for bytes that are not a whole WebP file."""
        image = _decoded("WebP", imagecodecs.webp_decode, data)
        return _green(image) if data.endswith(_WEBP_GREY_CHUNK) else image


class AvifCodec:
    """AVIF (libavif, libaom) at speed 4; colour as 4:4:4; quality 100 is lossless.

    imagecodecs stores true monochrome without loss only. Lossy mono is therefore stored as 4:2:0 colour
    without colour, and an empty `GREY` box of 8 bytes, which other readers skip, marks the file so that
    mono comes back mono.
    """

    codec_id = "avif"
    suffix = ".avif"
    model = ""
    lossless_from = 100

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`; `quality` is libavif's own."""
        image, quality = _checked(image, quality)
        if image.ndim == 2 and quality == 100:
            return bytes(imagecodecs.avif_encode(image, quality, speed=AVIF_SPEED, numthreads=1))
        chroma = "420" if image.ndim == 2 else "444"
        data = bytes(
            imagecodecs.avif_encode(_as_rgb(image), quality, speed=AVIF_SPEED, pixelformat=chroma, numthreads=1)
        )
        return data if image.ndim == 3 else data + _AVIF_GREY_BOX

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`. Raises DamagedFileError for bytes that are not a whole AVIF file."""
        image = _decoded("AVIF", imagecodecs.avif_decode, data, numthreads=1)
        return _green(image) if image.ndim == 3 and data.endswith(_AVIF_GREY_BOX) else image


class JxlCodec:
    """JPEG XL (libjxl) at effort 7; quality 100 is lossless, and takes images of 10, 12 and 16 bits too."""

    codec_id = "jxl"
    suffix = ".jxl"
    model = ""
    lossless_from = 100

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`; `quality` as `cjxl --quality` reads it.

        At quality 100 also a `uint16` one, `(H, W)`.
        """
        image, quality = _checked(image, quality, deep=quality == 100)
        return bytes(
            imagecodecs.jpegxl_encode(
                image,
                distance=jxl_distance(quality),
                lossless=quality == 100,
                effort=JXL_EFFORT if image.dtype == np.uint8 else JXL_DEEP_EFFORT,
                numthreads=1,
            )
        )

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`. Raises DamagedFileError for bytes that are not a whole file."""
        return _decoded("JPEG XL", imagecodecs.jpegxl_decode, data, deep=True, numthreads=1)


class PngCodec:
    """PNG (libpng): lossless, the yardstick for storage. `quality` is checked and has no effect."""

    codec_id = "png"
    suffix = ".png"
    model = ""
    lossless_from = 1

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress an image, `uint8` or `uint16`, without loss at every `quality`."""
        image, _ = _checked(image, quality, deep=True)
        return bytes(imagecodecs.png_encode(image, PNG_LEVEL, out=_png_bound(image)))

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`. Raises DamagedFileError for bytes that are not a whole PNG file."""
        image = _decoded("PNG", imagecodecs.png_decode, data, deep=True)
        if not data.endswith(_PNG_END):
            raise DamagedFileError("not a sound PNG file: it is cut short (no end chunk)")
        return image


def jxl_distance(quality: int) -> float:
    """The Butteraugli distance for a quality of 1 to 100: libjxl's `JxlEncoderDistanceFromQuality`.

    Source: libjxl 0.11, lib/jxl/encode.cc; the same mapping that `cjxl --quality` uses.
    """
    if quality >= 100:
        return 0.0
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _checked(image: Image, quality: int, *, deep: bool = False) -> tuple[Image, int]:
    quality = check_quality(quality)
    return np.ascontiguousarray(check_image(image, deep=deep)), quality


def _decoded(name: str, decode: Callable[..., Any], data: bytes, *, deep: bool = False, **options: Any) -> Image:
    """Call a library's decoder and hold it to the contract: an image, `deep` or not, or DamagedFileError."""
    check_header(name, data)
    try:
        image = decode(data, **options)
    except TypeError:  # a wrong call, not a wrong file
        raise
    except Exception as error:  # the libraries raise many kinds, all of which mean damage here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFileError(f"not a sound {name} file: {reason}") from error
    try:
        return check_image(image, deep=deep)
    except ImageError as error:
        raise DamagedFileError(
            f"not a frame: this {name} file holds {image.dtype} samples of shape {image.shape}, not 8-bit grey or RGB"
            + (", or 16-bit grey" if deep else "")
        ) from error


def _as_rgb(image: Image) -> Image:
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _green(image: Image) -> Image:
    """The green channel, which carries grey: conversion to RGB may leave the others one level off."""
    return np.ascontiguousarray(image[:, :, 1])


def _png_bound(image: Image) -> int:
    """Bytes that suffice for `image` as PNG: imagecodecs' own bound is too small for narrow images.

    Rows carry a filter byte each; zlib adds under 1/256 and IDAT chunks of 8 KiB 12 bytes each.
    """
    raw = image.nbytes + image.shape[0]
    return raw + raw // 128 + 4096


def _append_riff_chunk(data: bytes, chunk: bytes) -> bytes:
    whole = data + chunk
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
