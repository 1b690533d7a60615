"""What priority regions are worth: frames at equal file size, with and without, and where the difference went.

`python -m evaluation.priority LABELS_CSV` takes the rows of split test that have a mask; `--picture PNG` shows the
first of them.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.bench import evenly_spaced
from inspect_compress.demand import Demand, Priority
from inspect_compress.errors import ConfigError, DatasetError, InspectCompressError
from inspect_compress.files import write_file
from inspect_compress.images import Image, read_8_bit_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.draft import Draft
from inspect_compress.qarv.lmbda_map import offsets_of
from inspect_compress.qarv.strides import STRIDES

QUALITIES = (40, 60)
"""Uniform qualities, whose file sizes are the budgets."""
CONTRAST = 45
"""Points of quality from the background to the region."""
_PEAK = 255.0
_COLOURS = 64
"""Of the picture: error maps are noise, which a PNG of all colours makes large."""


@dataclass(frozen=True)
class Pair:
    """One frame twice at a size: uniform, and with priority. Errors are mean squares of grey levels."""

    uniform: Draft
    priority: Draft
    inside: tuple[float, float]
    """Errors within the mask: uniform, priority."""
    outside: tuple[float, float]
    seam: tuple[float, float]
    """Mean size of the steps in the error across the region's borders: in the uniform picture, in the other."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, metavar="LABELS_CSV", help="with the columns image, mask and split")
    parser.add_argument("--limit", type=int, default=40, help="frames, evenly spaced")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="show the first frame, and replace this file")
    options = parser.parse_args(arguments)
    try:
        frames = masked_frames(options.table, options.limit)
        print(
            "| uniform quality | frames | bytes | of which the map | PSNR inside the mask | outside "
            "| steps across the border |\n|---|---|---|---|---|---|---|"
        )
        for quality in QUALITIES:
            print(_line(quality, [pair for frame in frames if (pair := compare(*frame, quality))], len(frames)))
        if options.picture:
            _draw(*frames[0], options.picture)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def masked_frames(table: Path, limit: int) -> list[tuple[Image, Image]]:
    """Frames of split test, evenly spaced, each with its mask, which marks something. Raises DatasetError."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split") == "test" and row.get("mask")]
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read: {error.strerror or error}") from error
    masks = {row["image"]: read_8_bit_image(table.parent / row["mask"]) for row in rows}
    marked = [name for name, mask in masks.items() if mask.any()]
    if not marked:
        raise DatasetError(f"{table}: no row of split test has a mask that marks something")
    return [(read_8_bit_image(table.parent / name), masks[name]) for name in evenly_spaced(marked, limit)]


def compare(image: Image, mask: Image, quality: int) -> Pair | None:
    """The frame at a uniform quality, and with priority in no more bytes; None where those do not hold it."""
    codec = QarvCodec()
    weights = np.where(mask > 0, 255, 0).astype(np.uint8)
    uniform = codec.draft(image, Demand(quality))
    wish = Priority(weights, quality - CONTRAST // 2, quality - CONTRAST // 2 + CONTRAST)
    try:
        priority = codec.draft(image, Demand(max_bytes=len(uniform.data), priority=wish))
    except ConfigError:
        return None
    errors = [np.square(image.astype(float) - draft.reconstruction) for draft in (uniform, priority)]
    inside = weights > 0
    margin = codec.margin
    steps = [_steps(image, draft.reconstruction, wish, margin) for draft in (uniform, priority)]
    return Pair(
        uniform,
        priority,
        (float(errors[0][inside].mean()), float(errors[1][inside].mean())),
        (float(errors[0][~inside].mean()), float(errors[1][~inside].mean())),
        (steps[0], steps[1]),
    )


def _steps(image: Image, picture: Image, wish: Priority, margin: int) -> float:
    """The mean size of steps in the error between neighbours that lie in cells of unlike λ; nan where none do."""
    offsets = offsets_of(wish, margin)
    error = image.astype(float) - picture
    rows, columns = ((np.arange(side) + margin) // STRIDES[0] for side in image.shape[:2])
    cells = offsets[np.ix_(rows, columns)]
    across = [np.abs(np.diff(error, axis=axis))[np.diff(cells, axis=axis) != 0] for axis in (0, 1)]
    both = np.concatenate(across)
    return float(both.mean()) if both.size else float("nan")


def _line(quality: int, pairs: Sequence[Pair], frames: int) -> str:
    if not pairs:
        return f"| {quality} | 0 of {frames} | | | | | |"
    sizes = [(len(pair.priority.data), len(pair.priority.header.lmbda_map)) for pair in pairs]
    size, mapped = np.mean(sizes, axis=0)
    gains = [tuple(_gain(*errors) for errors in (pair.inside, pair.outside)) for pair in pairs]
    inside, outside = np.mean(gains, axis=0)
    before, after = np.nanmean([pair.seam for pair in pairs], axis=0)
    return (
        f"| {quality} | {len(pairs)} of {frames} | {size:,.0f} | {mapped:.1f} | {inside:+.1f} dB | {outside:+.1f} dB "
        f"| {before:.2f} to {after:.2f} grey levels |"
    )


def _gain(before: float, after: float) -> float:
    """By how many dB an error has fallen; errors under a hundredth of a grey level count as that."""
    return float(10 * np.log10(max(before, 1e-4) / max(after, 1e-4)))


def _draw(image: Image, mask: Image, path: Path) -> None:
    """The frame, and its errors without and with priority, the region outlined."""
    import io

    from matplotlib.figure import Figure
    from PIL import Image as PillowImage

    pair = compare(image, mask, QUALITIES[0])
    if pair is None:
        raise DatasetError("the first frame does not fit its budget with priority")
    pictures = [("frame", image)]
    drafts = (("uniform", pair.uniform), ("priority", pair.priority))
    for (name, draft), error in zip(drafts, pair.inside, strict=True):
        title = f"{name}, {len(draft.data):,} bytes, {_decibels(error):.1f} dB in the region"
        pictures.append((title, draft.reconstruction))
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    above, below = figure.subplots(2, 3)
    for axes, (title, picture) in zip(above, pictures, strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=10)
    errors = [np.abs(image.astype(int) - picture.astype(int)) for _, picture in pictures[1:]]
    errors = [error if error.ndim == 2 else error.max(axis=2) for error in errors]
    below[0].imshow(mask > 0, cmap="gray")
    below[0].set_title("mask", fontsize=10)
    for axes, error in zip(below[1:], errors, strict=True):
        shown = axes.imshow(error, cmap="magma", vmin=0, vmax=max(np.percentile(errors[0], 99.5), 1))
        axes.contour(mask > 0, levels=[0.5], colors="white", linewidths=0.8)
        axes.set_title("its error", fontsize=10)
    figure.colorbar(shown, ax=below[1:], label="grey levels", shrink=0.7)
    for axes in (*above, *below):
        axes.set_axis_off()
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=75)
    PillowImage.open(drawn).convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
    write_file(path, small.getvalue(), overwrite=True)


def _decibels(error: float) -> float:
    return float(10 * np.log10(_PEAK**2 / max(error, 1e-4)))


if __name__ == "__main__":
    sys.exit(main())
