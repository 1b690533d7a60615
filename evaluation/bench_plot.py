"""The rate–distortion plot of a bench run: PSNR and MS-SSIM over bits per pixel, one line per codec."""

import io
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.bench import BenchResult, Row

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart by the colour-blind; its yellow is left out, too pale on white."""
MARKERS = "osD^vPX"
LABEL_GAP = 0.045
"""Least distance between two labels, as a share of the axis' height."""


def rd_plot(result: BenchResult) -> bytes:
    """Draw the plot; returns a PNG file. A codec without any finite PSNR is a dotted line at its rate."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    codecs = list(dict.fromkeys(row.codec for row in result.rows))
    styles = {codec: _style(place) for place, codec in enumerate(codecs)}
    _panel(left, result.rows, styles, "PSNR, dB", lambda row: row.psnr)
    _panel(right, result.rows, styles, "MS-SSIM as −10·log₁₀(1 − MS-SSIM), dB", _ms_ssim_db)
    images = result.rows[0].images
    figure.suptitle(f"Rate and distortion, mean of {images} images; up and left is better")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _style(place: int) -> dict[str, Any]:
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def _panel(axes: Axes, rows: Sequence[Row], styles: dict[str, dict[str, Any]], label: str, value: Any) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel(label)
    axes.grid(True, which="both", linewidth=0.4, alpha=0.5)
    ends = {}
    for codec, style in styles.items():
        own = [row for row in rows if row.codec == codec]
        points = sorted((row.bpp, value(row)) for row in own if math.isfinite(value(row)))
        if points:
            axes.plot(*zip(*points, strict=True), linewidth=1.6, markersize=4, **style)
            ends[codec] = points[-1]
        else:
            axes.axvline(own[0].bpp, linestyle=":", color=style["color"])
            place = (own[0].bpp, 0.02)
            note = f"{codec} (lossless) "
            axes.text(
                *place,
                note,
                color=style["color"],
                transform=axes.get_xaxis_transform(),
                ha="right",
                rotation=90,
            )
    _label_ends(axes, ends, {codec: style["color"] for codec, style in styles.items()})
    axes.xaxis.set_major_formatter(lambda bpp, _: f"{bpp:g}")


def _label_ends(axes: Axes, ends: dict[str, tuple[float, float]], colours: dict[str, str]) -> None:
    """Write each codec's name right of the axes, near the height of its line's end, pushed apart."""
    bottom, top = axes.get_ylim()
    height = math.inf
    for codec, (bpp, end) in sorted(ends.items(), key=lambda item: item[1][1], reverse=True):
        height = min((end - bottom) / (top - bottom), height - LABEL_GAP)
        axes.annotate(
            codec,
            xy=(bpp, end),
            xytext=(1.02, height),
            textcoords="axes fraction",
            color=colours[codec],
            va="center",
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": colours[codec], "linewidth": 0.6, "alpha": 0.5},
        )


def _ms_ssim_db(row: Row) -> float:
    return math.inf if row.ms_ssim >= 1 else -10 * math.log10(1 - row.ms_ssim)
