"""BD-rate of QARV to HEVC intra, the limit of the classical codecs: x265, preset slow, one frame, a bare stream.

`python -m evaluation.hevc FRAMES` needs mono frames and the extra `hevc` (PyAV; its x265 is GPL and HEVC patented,
so it is here to measure against and no codec of this package).
"""

import sys
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from evaluation.frames import frames_from
from inspect_compress.bd import Point, bd_rate
from inspect_compress.errors import ImageError, InspectCompressError
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image, check_image
from inspect_compress.qarv.weights import default_fingerprint, installed_model
from inspect_compress.training.validation import rd_curve

RATE_FACTORS = (44, 38, 32, 26, 20, 14, 8)
"""x265's CRF: 0 is lossless, 51 the least."""
_PARAMETERS = "log-level=none:info=0:pools=1:frame-threads=1:keyint=1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        images = frames_from(__doc__, arguments)
        hevc = hevc_curve(images)
        qarv = [(p["bpp"], p["psnr"]) for p in rd_curve(installed_model(default_fingerprint()), images)]
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, curve in (("HEVC intra", hevc), ("QARV", qarv)):
        print(f"{name:10}", "  ".join(f"{bpp:.3f} bpp {decibels:.2f} dB" for bpp, decibels in sorted(curve)))
    print(f"BD-rate of QARV to HEVC intra: {bd_rate(hevc, qarv).percent:+.1f} %, {len(images)} frames")
    return 0


def hevc_curve(images: Sequence[Image]) -> list[Point]:
    """Mean bpp and PSNR (dB) of mono images at RATE_FACTORS, from real streams. Raises ImageError for colour."""
    curve = []
    for rate_factor in RATE_FACTORS:
        streams = [encode(image, rate_factor) for image in images]
        bpp = [8 * len(stream) / image.size for image, stream in zip(images, streams, strict=True)]
        decibels = [psnr(image, decode(stream)) for image, stream in zip(images, streams, strict=True)]
        curve.append((float(np.mean(bpp)), float(np.mean(decibels))))
    return curve


def encode(image: Image, rate_factor: int) -> bytes:
    """The bare HEVC stream of one intra frame, 4:0:0, from `(H, W)` uint8, sides of at least 16."""
    if image.ndim != 2:
        raise ImageError("a colour frame; HEVC is measured on mono ones")
    coder = av.CodecContext.create("libx265", "w")
    coder.height, coder.width = image.shape
    coder.pix_fmt, coder.time_base, coder.thread_count = "gray", Fraction(1), 1
    coder.options = {"preset": "slow", "crf": str(rate_factor), "x265-params": _PARAMETERS}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(check_image(image), np.uint8), format="gray")
    return b"".join(bytes(packet) for part in (frame, None) for packet in coder.encode(part))


def decode(stream: bytes) -> Image:
    """The frame in a stream of `encode`."""
    coder = av.CodecContext.create("hevc", "r")
    (frame,) = [frame for packet in (av.Packet(stream), None) for frame in coder.decode(packet)]
    return frame.to_ndarray().astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
