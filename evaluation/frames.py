"""The frames that a measuring module is given on its command line."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from evaluation.bench import evenly_spaced
from evaluation.image_paths import image_paths
from inspect_compress.images import Image, read_8_bit_image


def frames_from(description: str | None, arguments: Sequence[str] | None) -> list[Image]:
    """Read FRAMES, of which `--limit` are taken, evenly spaced. Raises DatasetError and ImageError."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "frames", type=Path, help="a labelled set, of which split test is read, or a folder of images"
    )
    parser.add_argument("--limit", type=int, default=20, help="frames, evenly spaced")
    options = parser.parse_args(arguments)
    return [read_8_bit_image(path) for path in evenly_spaced(image_paths(options.frames), options.limit)]
