"""Draws one frame under every shift and step, so that people can see what the amounts mean. Measures nothing.

`python -m evaluation.shift_plot FRAME PNG` replaces the file PNG.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from evaluation.shifts import SHIFTS, shifted
from inspect_compress.errors import InspectCompressError
from inspect_compress.files import write_file
from inspect_compress.images import Image, read_8_bit_image

PER_ROW = 2
"""Shifts beside each other."""
STEPS = 3
WIDTH, TITLE = 1.7, 0.24
"""Inches of a frame, and of the line above it."""
DOTS_PER_INCH = 80


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frame", type=Path, help="an image of 8 bits")
    parser.add_argument("picture", type=Path, metavar="PNG", help="the file that is written, or replaced")
    parser.add_argument("--seed", type=int, default=0, help="of the directions (default: 0)")
    options = parser.parse_args(arguments)
    try:
        drawing = draw_shifts(read_8_bit_image(options.frame), options.seed, options.frame.name)
        write_file(options.picture, drawing, overwrite=True)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def draw_shifts(image: Image, seed: int, frame_id: str) -> bytes:
    """A PNG file: a row per two shifts, each with the frame as it came and its three steps."""
    rows, columns = -(-len(SHIFTS) // PER_ROW), PER_ROW * (1 + STEPS)
    height = WIDTH * image.shape[0] / image.shape[1] + TITLE
    figure = Figure(figsize=(columns * WIDTH, rows * height), layout="constrained")
    cells = iter(figure.subplots(rows, columns).ravel())
    for name, shift in SHIFTS.items():
        _show(next(cells), "as it came", image)
        for amount in shift.amounts:
            seen = shifted(image, name, amount, seed=seed, frame_id=frame_id)
            _show(next(cells), f"{name} {amount:g} {shift.unit}", seen)
    for cell in cells:
        cell.set_axis_off()
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    PillowImage.open(drawn).convert("L" if image.ndim == 2 else "RGB").save(small, "PNG", optimize=True)
    return small.getvalue()


def _show(axes: Axes, title: str, image: Image) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


if __name__ == "__main__":
    sys.exit(main())
