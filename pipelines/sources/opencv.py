"""What a video file and a stream have in common: OpenCV's pictures as frames hold them."""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from inspect_compress.errors import SourceError
from inspect_compress.images import MAX_SIDE, Image

_DEEP_BITS = (9, 10, 12, 14, 16)
"""What the last byte of FFmpeg's tag of a pixel format of more than 8 bits says; a letter in most others."""
_DEEP_COLOUR = (b"RGB0", b"BGR0", b"RGB@", b"BGR@")
"""The tags of 48 and 64 bits per pixel."""
MAX_RATE = 1000.0
"""Frames per second. Where FFmpeg does not know, it gives the clock's ticks: 90,000."""
_QUIET = "-8"
"""FFmpeg's AV_LOG_QUIET."""


def open_capture(name: str, limits: Sequence[int] = ()) -> cv2.VideoCapture:
    """Open a file or stream by FFmpeg, which is kept from printing: whoever opens it says what went wrong."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    return cv2.VideoCapture(name, cv2.CAP_FFMPEG, list(limits))


def check_capture(capture: cv2.VideoCapture, name: str) -> None:
    """Raise SourceError where the frames are too large, or have more bits than OpenCV would leave of them."""
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise SourceError(f"{name}: its frames are {width}x{height} pixels; sides must be 1 to {MAX_SIDE}")
    tag = (int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF).to_bytes(4, "little")
    if tag[3] in _DEEP_BITS or tag in _DEEP_COLOUR:
        raise SourceError(
            f"{name}: has more than 8 bits per sample, of which 8 would be read; "
            "save its frames as 16-bit grey PNG or TIFF files"
        )


def picture(bgr: np.ndarray, *, mono: bool) -> Image:
    """A picture of OpenCV, `uint8` and `(H, W, 3)`, as RGB, or as grey: where all three are equal, as they are."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY if mono else cv2.COLOR_BGR2RGB), np.uint8)


def frame_rate(capture: cv2.VideoCapture) -> float | None:
    """Frames per second as far as they are known; None where what is given cannot be a camera's rate."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= MAX_RATE else None
