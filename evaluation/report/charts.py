"""The report's charts over bits per pixel as SVG: a line per codec or scenario, with intervals and direct labels.

Text stays text, so that the browser's fonts draw it in any language. Computes no figure of its own.
"""

import io
import math
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.statistics import Estimate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart by the colour-blind; its yellow is left out, too pale on white."""
MARKERS = "osD^vPX"
DASHES = ("-", "--", "-.", ":")
WIDTH, HEIGHT = 5.0, 3.7
"""Inches of a chart; small, so that its letters stay readable on a phone."""
LABEL_GAP = 0.07
"""Least distance between two labels, as a share of the axis' height."""
GREY = "#555555"


@dataclass(frozen=True)
class Line:
    """A named line: bits per pixel, and a value with its interval in the axis' unit (limits NaN: none known)."""

    label: str
    points: Sequence[tuple[float, Estimate]]


@dataclass(frozen=True)
class Level:
    """A named line across the chart; with an interval, a grey band."""

    label: str
    at: Estimate
    style: str


@dataclass(frozen=True)
class ChartTexts:
    """The words on the axes; `y` stands above the axis, in reading direction."""

    x: str
    y: str


def line_chart(
    lines: Sequence[Line], levels: Sequence[Level], texts: ChartTexts, bounds: tuple[float, float]
) -> bytes:
    """Draw `lines` over bits per pixel (log scale) and `levels` across; returns an SVG file.

    `bounds` are the least and the largest value possible, in the axis' unit.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    names = [*(line.label for line in lines), *(level.label for level in levels)]
    figure.subplots_adjust(left=0.1, right=1 - max(map(_width, names)) / WIDTH, top=0.91, bottom=0.14)
    axes = figure.subplots()
    axes.set_xscale("log")
    for level in levels:
        if not math.isnan(level.at.low):
            axes.axhspan(level.at.low, level.at.high, color="#000000", alpha=0.06, linewidth=0)
        axes.axhline(level.at.value, color=GREY, linestyle=level.style, linewidth=1.2)
    labels = [(level.label, math.nan, level.at.value, GREY) for level in levels]
    for place, line in enumerate(lines):
        points = sorted(line.points)
        _draw(axes, points, place)
        labels.append((line.label, points[-1][0], points[-1][1].value, COLOURS[place % len(COLOURS)]))
    _frame(axes, [at for line in lines for _, at in line.points] + [level.at for level in levels], bounds, texts)
    _ticks(axes, [bpp for line in lines for bpp, _ in line.points])
    _label_ends(axes, labels)
    return svg(figure)


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file whose text is text, the same bytes each time."""
    buffer = io.BytesIO()
    plain_text = rc_context({"svg.fonttype": "none", "svg.hashsalt": "inspect-compress"})
    with plain_text, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def plain_axes(axes: Axes) -> None:
    """Few and faint lines: a grid behind the data, no ticks, and only the lower spine."""
    axes.minorticks_off()
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def _width(label: str) -> float:
    """Inches that a bold label of 10 points needs beside the axes, its leader line included; CJK letters are wide."""
    letters = sum(1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.64 for letter in label)
    return 0.3 + letters * 10 / 72


def _draw(axes: Axes, points: Sequence[tuple[float, Estimate]], place: int) -> None:
    colour = COLOURS[place % len(COLOURS)]
    x = [bpp for bpp, _ in points]
    lows, highs = [at.low for _, at in points], [at.high for _, at in points]
    axes.vlines(x, lows, highs, color=colour, alpha=0.45, linewidth=1.4)
    look: dict[str, Any] = {"marker": MARKERS[place % len(MARKERS)], "linestyle": DASHES[place % len(DASHES)]}
    axes.plot(x, [at.value for _, at in points], color=colour, linewidth=1.8, markersize=5, **look)


def _frame(axes: Axes, values: Sequence[Estimate], bounds: tuple[float, float], texts: ChartTexts) -> None:
    """Axes to the size of the data, within `bounds`."""
    limits = [limit for at in values for limit in at if not math.isnan(limit)]
    low, high = min(limits), max(limits)
    room = 0.06 * max(high - low, 1e-3 * abs(high))
    overlap = 0.01 * min(bounds[1] - bounds[0], 100.0)
    axes.set_ylim(max(bounds[0] - overlap, low - room), min(bounds[1] + overlap, high + room))
    axes.set_xlabel(texts.x)
    axes.set_title(texts.y, loc="left", fontsize=10)
    plain_axes(axes)


def _ticks(axes: Axes, bpps: Sequence[float]) -> None:
    """Round numbers of bits per pixel, written plainly: 1, 2 and 5 times powers of ten."""
    low, high = min(bpps) / 1.15, max(bpps) * 1.15
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    axes.set_xlim(low, high)
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(lambda bpp, _: f"{bpp:g}")
    axes.minorticks_off()


def _label_ends(axes: Axes, labels: Sequence[tuple[str, float, float, str]]) -> None:
    """Write names right of the axes, each near the height of its line, pushed apart where they would touch.

    A label is its text, the x and y of the line's end (x NaN for a line across), and its colour.
    """
    bottom, top = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: label[2])
    wanted = [(y - bottom) / (top - bottom) for _, _, y, _ in ordered]
    for (text, x, y, colour), height in zip(ordered, _spread(wanted), strict=True):
        across = math.isnan(x)
        axes.annotate(
            text,
            xy=(axes.get_xlim()[1] if across else x, y),
            xytext=(1.04, height),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=10,
            fontweight="normal" if across else "bold",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "alpha": 0.5,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def _spread(wanted: Sequence[float]) -> list[float]:
    """Rising heights at least LABEL_GAP apart, near the wanted ones (rising too), and within the axes.

    Labels that would touch form a block, which is centred where its labels want to be.
    """
    blocks: list[list[float]] = []
    for height in wanted:
        blocks.append([height])
        while len(blocks) > 1 and _bottom(blocks[-1]) < _bottom(blocks[-2]) + LABEL_GAP * len(blocks[-2]):
            last = blocks.pop()
            blocks[-1] += last
    return [_bottom(block) + LABEL_GAP * place for block in blocks for place in range(len(block))]


def _bottom(block: Sequence[float]) -> float:
    """The height of a block's lowest label."""
    extent = LABEL_GAP * (len(block) - 1)
    return min(max(sum(block) / len(block) - extent / 2, 0.0), 1.0 - extent)
