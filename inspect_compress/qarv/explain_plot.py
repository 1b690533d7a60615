"""Draws an Explanation as one picture: the frame, where its bits went, what was cut, and the bytes of each level.

Places and sizes on the page are in inches, so that tall, wide and tiny frames all have room for their scales.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import cv2
import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from inspect_compress.images import Image
from inspect_compress.qarv.explain import BUSIEST, Explanation
from inspect_compress.qarv.lapped import BLOCK
from inspect_compress.qarv.lmbda_map import LmbdaMap
from inspect_compress.qarv.strides import STRIDES

DOTS_PER_INCH = 130
LONG_SIDE, LEAST_SIDE = 4.6, 1.2
"""Of a frame on the page; one that is longer and thinner is drawn thicker than it is."""
LEFT, RIGHT, ABOVE, BELOW = 0.6, 0.9, 0.55, 0.35
"""Room around a frame: for its pixels' numbers, its scale, its title."""
LEAST_ROOM = 3.6
"""Width of a frame with what is around it: what its title takes."""
STACKED_FROM = 1.7
"""Width to height from which frames stand one above the other."""
HEAD, BAR, FOOT = 0.75, 0.27, 0.15
NAME_SIZE, TITLE_SIZE, SMALL = 12, 10, 8
LETTERS_PER_INCH, WIDE_LETTERS_PER_INCH = 9, 6
"""Of a bold file name, and of one that may be Japanese."""

MOST_PIXELS = 2048
"""A longer side is made smaller by means before it is drawn."""
BITS_COLOURS, ERROR_COLOURS = "viridis", "inferno"
BITS_TOP, ERROR_TOP = 99.5, 99.9
"""Percentiles that the scales end at, so that a single place does not make all others dark."""
LEAST_ERROR_TOP = 4.0
"""Grey levels: errors below one that nobody sees should not look alarming."""

FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Yu Gothic",
    "Meiryo",
    "MS Gothic",
    "Hiragino Sans",
    "IPAexGothic",
    "Noto Sans CJK SC",
    "Noto Sans CJK KR",
)
"""For file names, tried letter by letter; those that are not installed are left out."""

Shown = Image | NDArray[np.float64]


def explain_plot(explanation: Explanation) -> Image:
    """Draw it: `uint8`, `(H, W, 3)`, sides of about 700 to 2400 pixels."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = [font for font in FONTS if font in installed]
    with rc_context({"font.family": fonts, "font.size": SMALL}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that no font has is drawn as a box
        canvas = FigureCanvasAgg(_draw(explanation))
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _draw(explanation: Explanation) -> Figure:
    bars = _bars(explanation)
    rows, columns = explanation.picture.shape[:2]
    page = _Page(rows, columns, 3 if explanation.loss else 2, BAR * len(bars))
    figure = Figure(figsize=(page.width, page.height), dpi=DOTS_PER_INCH)
    _headline(figure, page, explanation)
    panels = (page.panel(figure, number) for number in range(page.panels))
    _frame(next(panels), page, explanation)
    _bits(next(panels), page, explanation)
    if explanation.loss:
        _loss(next(panels), page, explanation)
    _draw_bars(page.bars(figure), bars, explanation.described["bytes"])
    return figure


@dataclass(frozen=True)
class _Page:
    """Where things stand, for frames of `rows`×`columns` pixels and a chart `bars_height` inches high."""

    rows: int
    columns: int
    panels: int
    bars_height: float

    @property
    def frame(self) -> tuple[float, float]:
        """Width and height of a frame."""
        inches = LONG_SIDE / max(self.rows, self.columns)
        return max(self.columns * inches, LEAST_SIDE), max(self.rows * inches, LEAST_SIDE)

    @property
    def room(self) -> tuple[float, float]:
        """Width and height of a frame with what is around it."""
        return max(LEFT + self.frame[0] + RIGHT, LEAST_ROOM), ABOVE + self.frame[1] + BELOW

    @property
    def stretched(self) -> bool:
        """Whether a frame is drawn thicker than it is."""
        return LONG_SIDE * min(self.rows, self.columns) < LEAST_SIDE * max(self.rows, self.columns)

    @property
    def stacked(self) -> bool:
        return self.columns >= STACKED_FROM * self.rows

    @property
    def width(self) -> float:
        return max(self.room[0] * (1 if self.stacked else self.panels), 2 * LEAST_ROOM)

    @property
    def height(self) -> float:
        return HEAD + self.room[1] * (self.panels if self.stacked else 1) + ABOVE + self.bars_height + FOOT

    def panel(self, figure: Figure, number: int) -> Axes:
        across, down = (0, number) if self.stacked else (number, 0)
        left = across * self.room[0] + LEFT
        top = HEAD + down * self.room[1] + ABOVE
        return self._axes(figure, left, top, *self.frame)

    def bars(self, figure: Figure) -> Axes:
        top = self.height - FOOT - self.bars_height
        return self._axes(figure, LEFT + 0.3, top, self.width - LEFT - 0.3 - RIGHT, self.bars_height)

    def _axes(self, figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))


def _headline(figure: Figure, page: _Page, explanation: Explanation) -> None:
    facts = explanation.described
    low, high = explanation.qualities
    quality = f"{low} (λ {facts['lmbda']:,.1f})" if low == high else f"{low} to {high}"
    colours = "grey" if facts["channels"] == 1 else "RGB"
    line = (
        f"{facts['width']}×{facts['height']} {colours}    {facts['bytes']:,} bytes    "
        f"{facts['bpp']:.3f} bits per pixel    quality {quality}"
    )
    left = LEFT / page.width
    name = _printable(explanation.name, page.width - 2 * LEFT)
    top: dict[str, Any] = {"va": "top", "parse_math": False}
    figure.text(left, 1 - 0.15 / page.height, name, fontsize=NAME_SIZE, fontweight="bold", **top)
    figure.text(left, 1 - 0.45 / page.height, line, fontsize=TITLE_SIZE, **top)


def _printable(name: str, inches: float) -> str:
    """A name with nothing in it that cannot be drawn, its middle left out where it is too long."""
    most = int(inches * (LETTERS_PER_INCH if name.isascii() else WIDE_LETTERS_PER_INCH))
    name = "".join(letter if letter.isprintable() else "�" for letter in name)
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2) :]}"


def _frame(axes: Axes, page: _Page, explanation: Explanation) -> None:
    notes = ["lines: quality changes"] * bool(explanation.map_bytes) + ["not to scale"] * page.stretched
    _show(axes, page, "decoded frame", ", ".join(notes), explanation.picture, cmap="gray", vmin=0, vmax=255)
    _outline(axes, explanation.indexes, explanation.margin)


def _bits(axes: Axes, page: _Page, explanation: Explanation) -> None:
    density = explanation.bits_per_pixel
    note = f"the busiest {BUSIEST:.0%} of the blocks have {explanation.busiest_share:.0%} of the bits"
    top = float(np.percentile(density, BITS_TOP, method="higher"))
    _show(axes, page, "bits per pixel", note, density, cmap=BITS_COLOURS, vmin=0, vmax=top, block=BLOCK)
    _scale(axes, page, "bits per pixel", exceeded=bool(density.max() > top))
    _outline(axes, explanation.indexes, explanation.margin)


def _loss(axes: Axes, page: _Page, explanation: Explanation) -> None:
    loss = explanation.loss
    assert loss is not None
    most = int(loss.absolute.max())
    colour = ", largest of R, G and B" if explanation.picture.ndim == 3 else ""
    note = f"PSNR {loss.psnr:.2f} dB    MS-SSIM {loss.ms_ssim:.4f}    at most {most}"
    if math.isinf(loss.psnr):
        note = "none: equal to the original"
    top = max(float(np.percentile(loss.absolute, ERROR_TOP, method="higher")), LEAST_ERROR_TOP)
    title = f"absolute error{colour}"
    _show(axes, page, title, note, loss.absolute, cmap=ERROR_COLOURS, vmin=0, vmax=top)
    _scale(axes, page, "grey levels", exceeded=most > top)


def _show(
    axes: Axes,
    page: _Page,
    title: str,
    note: str,
    values: Shown,
    *,
    block: int = 1,
    **colours: str | float,
) -> None:
    """Draw a picture, or a map of blocks of so many pixels, in the frame's own coordinates."""
    rows, columns = values.shape[:2]
    if max(rows, columns) > MOST_PIXELS:
        factor = MOST_PIXELS / max(rows, columns)
        size = max(1, round(columns * factor)), max(1, round(rows * factor))
        values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    extent = (0, columns * block, rows * block, 0)
    axes.imshow(values, extent=extent, aspect="auto", **colours)  # type: ignore[arg-type]
    axes.set_xlim(0, page.columns)
    axes.set_ylim(page.rows, 0)
    for axis, inches in ((axes.xaxis, page.frame[0]), (axes.yaxis, page.frame[1])):
        axis.set_major_locator(MaxNLocator(max(1, int(inches * 1.5)), integer=True))
    above = 0.08 / page.frame[1]
    place = {"transform": axes.transAxes, "va": "bottom"}
    axes.text(0, 1 + above, note, **place)  # type: ignore[arg-type]
    axes.text(0, 1 + above + 0.16 / page.frame[1], title, fontsize=TITLE_SIZE, fontweight="bold", **place)  # type: ignore[arg-type]


def _scale(axes: Axes, page: _Page, unit: str, *, exceeded: bool) -> None:
    """The colour bar to the right of a frame; pointed where there are values beyond it."""
    width, gap = 0.13 / page.frame[0], 0.08 / page.frame[0]
    bar = axes.figure.colorbar(
        axes.images[0], cax=axes.inset_axes((1 + gap, 0, width, 1)), extend="max" if exceeded else "neither"
    )
    bar.locator = MaxNLocator(max(2, int(page.frame[1] * 1.5)), steps=[1, 2, 5, 10])
    bar.set_label(unit)


def _outline(axes: Axes, indexes: LmbdaMap, margin: int) -> None:
    """Lines between cells whose λ differs."""
    borders = list(_borders(indexes, margin))
    for colour, width in (("black", 2.6), ("white", 1.2)):
        lines = LineCollection(borders, colors=colour, linewidths=width, capstyle="projecting")
        axes.add_collection(lines, autolim=False)


def _borders(indexes: LmbdaMap, margin: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The sides, two points each, in pixels, of cells that differ from the one to the left or above."""
    cell = STRIDES[0]
    for row, column in np.argwhere(indexes[:, 1:] != indexes[:, :-1]):
        x, y = (column + 1) * cell - margin, row * cell - margin
        yield (x, y), (x, y + cell)
    for row, column in np.argwhere(indexes[1:] != indexes[:-1]):
        x, y = column * cell - margin, (row + 1) * cell - margin
        yield (x, y), (x + cell, y)


def _bars(explanation: Explanation) -> dict[str, int]:
    """What each part of the file takes, in bytes."""
    levels = ((f"stride {level['stride']}", level["bytes"]) for level in explanation.described["levels"])
    rest = [("map of λ", explanation.map_bytes)] if explanation.map_bytes else []
    return dict(chain(levels, rest, [("header", explanation.header_bytes)]))


def _draw_bars(axes: Axes, bars: dict[str, int], size: int) -> None:
    axes.barh(list(bars), list(bars.values()), color="#0072B2", height=0.7)
    axes.invert_yaxis()
    axes.set_xlim(0, max(bars.values()) * 1.2)
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    for place, count in enumerate(bars.values()):
        axes.text(count, place, f"  {count:,} bytes, {count / size:.1%}", va="center")
    axes.set_title("parts of the file: coarse structure first", loc="left", fontsize=TITLE_SIZE, fontweight="bold")
