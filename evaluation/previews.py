"""What a preview costs and shows: bytes, and PSNR, of the first one, two and three levels of a file.

`python -m evaluation.previews FRAMES` prints them for a low, a middle and a high quality.
"""

import sys
from collections.abc import Sequence

import numpy as np

from evaluation.frames import frames_from
from inspect_compress.errors import InspectCompressError
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.container_reader import read_container

QUALITIES = (30, 60, 90)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        images = frames_from(__doc__, arguments)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("| quality | level 1 | levels 1–2 | the whole file |\n|---|---|---|---|")
    for quality in QUALITIES:
        cells = (f"{size:,.0f} bytes, {decibels:.1f} dB" for size, decibels in preview_curve(images, quality))
        print(f"| {quality} | {' | '.join(cells)} |")
    print(f"\nmean of {len(images)} frames")
    return 0


def preview_curve(images: Sequence[Image], quality: int) -> list[tuple[float, float]]:
    """Mean bytes and PSNR (dB) of the first level, the first two, and the whole file."""
    codec = QarvCodec()
    measured = []
    for image in images:
        data = codec.encode(image, quality=quality)
        *ends, _ = read_container(data).ends
        sizes = [*ends, len(data)]
        shown = [codec.decode(data, levels=number) for number in range(1, len(sizes) + 1)]
        measured.append([(size, psnr(image, picture)) for size, picture in zip(sizes, shown, strict=True)])
    return [(float(size), float(decibels)) for size, decibels in np.mean(measured, axis=0)]


if __name__ == "__main__":
    sys.exit(main())
