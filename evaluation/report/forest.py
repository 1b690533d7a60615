"""The decision's chart: per quality, the paired change with its interval against the margin. It judges nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.decision import Verdict
from evaluation.report.charts import GREY, plain_axes, svg
from evaluation.statistics import Estimate

WIDTH, ROW, HEAD = 4.6, 0.3, 0.92
"""Inches: of the chart, of a row, and of what is above and below the rows."""
LOOKS: dict[Verdict, tuple[str, str]] = {
    "safe": ("#0072B2", "o"),
    "inconclusive": ("#6b6b6b", "D"),
    "unsafe": ("#C04A00", "X"),
}
"""Colour and marker per verdict: told apart by shape too."""
FORBIDDEN = "#D55E00"
ROOM = 0.12
"""Space beyond the widest interval, as a share of the axis."""


@dataclass(frozen=True)
class Row:
    """A quality: what it is called, its change in points, its verdict, and whether the decision is about it."""

    label: str
    change: Estimate
    verdict: Verdict
    chosen: bool


@dataclass(frozen=True)
class ForestTexts:
    """The words in the chart: above the rows' names, below the axis, and at the margin."""

    rows: str
    axis: str
    margin: str


def forest_chart(rows: Sequence[Row], margin: float, texts: ForestTexts) -> bytes:
    """Draw a row per quality, the first on top, and shade what lies beyond `margin`; returns an SVG file.

    `margin` is in points, below zero where less is worse, and above it where more is.
    """
    figure = Figure(figsize=(WIDTH, HEAD + ROW * len(rows)))
    axes = figure.subplots()
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.22, right=0.87, top=1 - 0.28 / height, bottom=0.5 / height)
    low, high = _limits(rows, margin)
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvspan(margin, low if margin < 0 else high, color=FORBIDDEN, alpha=0.12, linewidth=0)
    axes.axvline(margin, color=FORBIDDEN, linewidth=1.4, linestyle=":")
    axes.axvline(0, color=GREY, linewidth=1)
    for place, row in enumerate(rows):
        _draw(axes, place, row)
    plain_axes(axes)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row.chosen else "normal")
    axes.set_xlabel(texts.axis)
    above: dict[str, Any] = {"va": "bottom", "fontsize": 9}
    axes.annotate(texts.rows, (-0.02, 1.02), xycoords="axes fraction", ha="right", color=GREY, **above)
    at_margin: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "color": "#8f3a00"}
    axes.annotate(texts.margin, (margin, 1.02), **at_margin, **above)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("+0", "0").replace("-", "−"))
    return svg(figure)


def _draw(axes: Axes, place: int, row: Row) -> None:
    """The interval as a bar, the value as a marker, and the value in figures at the right."""
    colour, marker = LOOKS[row.verdict]
    change = row.change
    axes.plot([change.low, change.high], [place, place], color=colour, linewidth=4 if row.chosen else 2.2, alpha=0.75)
    axes.plot([change.value], [place], color=colour, marker=marker, markersize=9 if row.chosen else 6.5)
    text = f"{change.value:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")
    weight = "bold" if row.chosen else "normal"
    axes.annotate(
        text, (1.02, place), xycoords=("axes fraction", "data"), va="center", color=colour, fontweight=weight
    )


def _limits(rows: Sequence[Row], margin: float) -> tuple[float, float]:
    ends = [margin, 0.0, *(end for row in rows for end in (row.change.low, row.change.high))]
    room = ROOM * (max(ends) - min(ends))
    return min(ends) - room, max(ends) + room
