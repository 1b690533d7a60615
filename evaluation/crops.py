"""Cuts out of test frames, as they came and as the archive gives them back, kept as PNG files in one table.

They are cut once, when a run is measured, so that its report can be made again anywhere and without the images.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image as PillowImage

from evaluation.escapes import SHOWN_ESCAPES, SHOWN_FALSE_ALARMS, find_turned
from evaluation.kpis import ORIGINAL
from evaluation.report.samples import closest_calls
from inspect_compress.codecs import Codec, load_codec
from inspect_compress.images import Image, read_8_bit_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.explain import bits_of_blocks
from inspect_compress.qarv.lapped import BLOCK
from inspect_compress.qarv.weights import installed_model
from pipelines.archive import Archive, ArchivedFrame
from pipelines.datasets import Item, read_mask

WORKERS = 2
SIDE = (72, 176)
"""Least and largest side of a crop, in pixels."""
SURROUNDINGS = 24
"""Pixels shown around a defect's mask, in all."""
BITS_COLOURS = "viridis"
COLUMNS = ("frame_id", "codec", "quality", "left", "top", "right", "bottom", "png", "bits")

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


class _Wanted(NamedTuple):
    """Which crops of a frame are needed: of these codecs, with the map of bits at `bits_at` of the first."""

    codecs: tuple[str, ...]
    bits_at: int | None


def cut_crops(
    originals: pd.DataFrame, results: pd.DataFrame, archive: Archive, column: str, threshold: float
) -> pd.DataFrame:
    """The crops that a report shows: of the frames that were turned, and of those that were found only just.

    A row per frame and codec and quality: `frame_id`, `codec` ("original" too, with `quality` 0), `left`, `top`,
    `right`, `bottom` (pixels), `png` (a PNG file) and `bits` (a PNG file or null). Around the defect's mask where
    there is one; else where compression changed the picture most, or in the middle of what was not turned.
    """
    wanted = _wanted(originals, results, column, threshold)
    codecs = {name: load_codec(name) for name in results["codec"].unique()}
    places = originals.set_index("frame_id")

    def cut(frame_id: str) -> list[dict[str, Any]]:
        row = places.loc[frame_id]
        item = Item(Path(row["image"]), row["defect"], Path(row["mask"]) if row["mask"] else None, "", "")
        return _cut(frame_id, item, wanted[frame_id], codecs, archive)

    with ThreadPoolExecutor(WORKERS) as pool:
        rows = [row for rows in pool.map(cut, wanted) for row in rows]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def cut_png(image: Image, box: Sequence[int]) -> bytes:
    """The part of an image in a box, as a PNG file."""
    left, top, right, bottom = box
    return _png(image[top:bottom, left:right])


def _wanted(originals: pd.DataFrame, results: pd.DataFrame, column: str, threshold: float) -> dict[str, _Wanted]:
    codecs = tuple(results["codec"].unique())
    escapes, false_alarms = find_turned(originals, results, column, threshold)
    shown = [*escapes[:SHOWN_ESCAPES], *false_alarms[:SHOWN_FALSE_ALARMS]]
    wanted = {turned.frame_id: _Wanted(codecs[:1], turned.quality) for turned in shown}
    for frame_id in closest_calls(originals, f"score_{column}", threshold)["frame_id"]:
        turned = wanted.get(frame_id)
        wanted[frame_id] = _Wanted(codecs, turned.bits_at if turned else None)
    return wanted


def _cut(
    frame_id: str, item: Item, wanted: _Wanted, codecs: dict[str, Codec], archive: Archive
) -> list[dict[str, Any]]:
    image = read_8_bit_image(item.image)
    where = (pc.field("frame_id") == frame_id) & pc.field("codec").isin(list(wanted.codecs))
    records = list(archive.frames(where=where))
    pictures = [codecs[record.codec].decode(record.payload) for record in records]
    turned = [
        place
        for place, record in enumerate(records)
        if (record.codec, record.quality) == (wanted.codecs[0], wanted.bits_at)
    ]
    error = _error(image, pictures[turned[0]]) if turned else None
    box = _box(image, read_mask(item, image.shape), error)
    rows = [_row(frame_id, ORIGINAL, 0, box, image, None)]
    for place, (record, picture) in enumerate(zip(records, pictures, strict=True)):
        bits = _bits(record, codecs[record.codec], box) if place in turned else None
        rows.append(_row(frame_id, record.codec, record.quality, box, picture, bits))
    return rows


def _row(frame_id: str, codec: str, quality: int, box: Box, image: Image, bits: bytes | None) -> dict[str, Any]:
    return dict(zip(COLUMNS, (frame_id, codec, quality, *box, cut_png(image, box), bits), strict=True))


def _box(image: Image, mask: NDArray[np.bool_] | None, error: NDArray[np.float64] | None) -> Box:
    """A square around the mask; without one, where the error is greatest, or in the middle."""
    height, width = image.shape[:2]
    x, y, extent = width / 2, height / 2, float(np.mean(SIDE))
    if mask is not None and mask.any():
        ys, xs = np.nonzero(mask)
        x, y = (xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2
        extent = float(max(np.ptp(xs), np.ptp(ys))) + SURROUNDINGS
    elif error is not None:
        extent = SIDE[1]
        x, y = _worst_place(error, SIDE[1])
    side = int(min(max(extent, SIDE[0]), SIDE[1]))
    left, top = (
        int(min(max(centre - side / 2, 0), max(length - side, 0))) for centre, length in ((x, width), (y, height))
    )
    return left, top, min(left + side, width), min(top + side, height)


def _error(image: Image, decoded: Image) -> NDArray[np.float64]:
    """Squared difference of grey levels, float64 `(H, W)`, over the channels."""
    squared = (image.astype(np.float64) - decoded) ** 2
    return squared if squared.ndim == 2 else squared.sum(axis=2)


def _worst_place(error: NDArray[np.float64], side: int) -> tuple[float, float]:
    """The middle, x and y, of the square of so many pixels that has the greatest error in it."""
    height, width = (min(side, length) for length in error.shape)
    sums = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return float(left + width / 2), float(top + height / 2)


def _bits(record: ArchivedFrame, codec: Codec, box: Box) -> bytes | None:
    """A picture of bits per pixel in the box, brightest where most are; None for codecs that do not tell."""
    if not isinstance(codec, QarvCodec):
        return None
    _, places = codec.decode_and_count(record.payload)
    header = read_container(record.payload).header
    blocks = bits_of_blocks(places, header, installed_model(header.model).network.shape.margin)
    pixels = np.repeat(np.repeat(blocks, BLOCK, axis=0), BLOCK, axis=1)
    left, top, right, bottom = box
    shown = pixels[top:bottom, left:right] / max(float(blocks.max()), 1e-9)
    return _png((255 * colormaps[BITS_COLOURS](shown)[..., :3]).round().astype(np.uint8))


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
