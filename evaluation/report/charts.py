"""The report's charts as SVG: a rate over bits per pixel, one line per codec, with intervals.

Text stays text, so that the browser's fonts draw it in any language.
"""

import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.kpis import ORIGINAL, Kpi
from evaluation.statistics import Estimate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart by the colour-blind; its yellow is left out, too pale on white."""
MARKERS = "osD^vPX"
WIDTH, HEIGHT = 5.0, 3.7
"""Inches of a chart; small, so that its letters stay readable on a phone."""
LABEL_GAP = 0.07
"""Least distance between two labels, as a share of the axis' height."""
GREY = "#555555"


@dataclass(frozen=True)
class ChartTexts:
    """The words in a chart."""

    x: str
    y: str
    original: str
    margin: str


def rate_chart(kpis: Sequence[Kpi], rate: Callable[[Kpi], Estimate], limit: float, texts: ChartTexts) -> bytes:
    """Draw one detector's `rate` in percent over bpp; returns an SVG file.

    `kpis` begin with the originals. `limit` is the worst rate that is acceptable, as a share of one.
    """
    original = rate(kpis[0])
    codecs = list(dict.fromkeys(kpi.codec for kpi in kpis if kpi.codec != ORIGINAL))
    figure = Figure(figsize=(WIDTH, HEIGHT))
    figure.subplots_adjust(left=0.1, right=0.8, top=0.91, bottom=0.14)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.axhspan(100 * original.low, 100 * original.high, color="#000000", alpha=0.06, linewidth=0)
    axes.axhline(100 * original.value, color=GREY, linestyle="--", linewidth=1.2)
    axes.axhline(100 * limit, color=GREY, linestyle=":", linewidth=1.2)
    ends = []
    for place, codec in enumerate(codecs):
        points = sorted((k.bpp, rate(k)) for k in kpis if k.codec == codec)
        _line(axes, points, place)
        ends.append((codec, *points[-1], COLOURS[place % len(COLOURS)]))
    _frame(axes, [rate(kpi) for kpi in kpis], [kpi.bpp for kpi in kpis[1:]], texts)
    labels = [(codec, bpp, 100 * at.value, colour) for codec, bpp, at, colour in ends]
    labels += [
        (texts.original, math.nan, 100 * original.value, GREY),
        (texts.margin, math.nan, 100 * limit, GREY),
    ]
    _label_ends(axes, labels)
    return _svg(figure)


def _line(axes: Axes, points: Sequence[tuple[float, Estimate]], place: int) -> None:
    colour = COLOURS[place % len(COLOURS)]
    x = [bpp for bpp, _ in points]
    y = [100 * at.value for _, at in points]
    axes.vlines(
        x,
        [100 * at.low for _, at in points],
        [100 * at.high for _, at in points],
        color=colour,
        alpha=0.45,
        linewidth=1.4,
    )
    axes.plot(x, y, color=colour, marker=MARKERS[place % len(MARKERS)], linewidth=1.8, markersize=5)


def _frame(axes: Axes, rates: Sequence[Estimate], rates_bpp: Sequence[float], texts: ChartTexts) -> None:
    """Axes to the size of the data, within 0 to 100 %, with plain numbers and few lines."""
    low, high = 100 * min(r.low for r in rates), 100 * max(r.high for r in rates)
    room = 0.06 * (high - low)
    axes.set_ylim(max(-1.0, low - room), min(101.0, high + room))
    axes.set_xlim(min(rates_bpp) / 1.15, max(rates_bpp) * 1.15)
    axes.set_xlabel(texts.x)
    axes.set_title(texts.y, loc="left", fontsize=10)
    axes.set_xticks(_log_ticks(min(rates_bpp), max(rates_bpp)))
    axes.xaxis.set_major_formatter(lambda bpp, _: f"{bpp:g}")
    axes.minorticks_off()
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between `low` and `high`: 1, 2 and 5 times powers of ten."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [tick for tick in ticks if low / 1.15 <= tick <= high * 1.15]


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


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    plain_text = rc_context({"svg.fonttype": "none", "svg.hashsalt": "inspect-compress"})
    with plain_text, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
