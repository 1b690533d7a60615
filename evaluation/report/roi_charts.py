"""The charts of the return on investment as SVG: what moves it, when the money is back, and how sure it is.

Computes no figure; words come from the catalogue, and text stays text.
"""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.economics import Economics, Swing
from evaluation.report.charts import COLOURS, GREY, HEIGHT, WIDTH, plain_axes, svg
from evaluation.report.money import count, money, price, share, size
from evaluation.report.texts import Texts
from evaluation.roi_config import STAGES

LOW, HIGH = COLOURS[0], COLOURS[1]
ROWS = 9
"""The tornado shows so many swings at most, the widest."""
_ROW_HEIGHT = 0.42
_BINS = 40


def tornado_chart(economics: Economics, texts: Texts) -> bytes:
    """NPV with each assumption and measured figure at its lowest and highest value; `tornado` must not be empty."""
    swings = economics.tornado[:ROWS]
    base = economics.expected.npv.value or 0.0
    height = 0.95 + _ROW_HEIGHT * len(swings)
    figure = Figure(figsize=(WIDTH, height))
    figure.subplots_adjust(left=0.06, right=0.94, top=1 - 0.5 / height, bottom=0.36 / height)
    axes = figure.subplots()
    for row, swing in enumerate(swings):
        for end, colour in ((swing.npv_low, LOW), (swing.npv_high, HIGH)):
            axes.barh(row + 0.22, end - base, left=base, height=0.36, color=colour)
        label = f"{texts(f'roi.setting_{swing.name}')}  {_ends(swing, economics, texts)}"
        axes.text(0, row - 0.18, label, transform=axes.get_yaxis_transform(), va="center", fontsize=9, zorder=3)
    axes.set_ylim(len(swings) - 0.4, -0.5)
    axes.set_yticks([])
    plain_axes(axes)
    _money_axis(axes, economics, texts, "x")
    for x, width, style in ((0.0, 1.4, "-"), (base, 1.0, ":")):
        axes.axvline(x, color="#000000" if style == "-" else GREY, linewidth=width, linestyle=style, zorder=0.5)
    _two_ends(axes, 1 + 0.12 / height, (texts("roi.tornado_low"), LOW), (texts("roi.tornado_high"), HIGH))
    return svg(figure)


def cash_chart(economics: Economics, texts: Texts) -> bytes:
    """The sum of all money since the start, month by month, with the 95 % band; the stages are marked."""
    total = economics.expected.cumulative
    months = np.arange(len(total))
    figure = Figure(figsize=(WIDTH, HEIGHT))
    figure.subplots_adjust(left=0.17, right=0.79, top=0.8, bottom=0.14)
    axes = figure.subplots()
    axes.fill_between(months, *economics.band, color=LOW, alpha=0.18, linewidth=0)
    axes.plot(months, total, color=LOW, linewidth=2)
    axes.axhline(0, color="#000000", linewidth=1)
    axes.set_xlim(0, months[-1])
    for place, stage in enumerate(economics.stages):
        x = stage.first_month - 1
        axes.axvline(x, color=GREY, linestyle=":", linewidth=1)
        height = 1.2 - 0.06 * place
        name = texts(f"roi.stage_{STAGES[place]}")
        axes.text(x, height, name, transform=axes.get_xaxis_transform(), fontsize=9, color=GREY)
    plain_axes(axes)
    axes.set_xticks(range(0, len(total), 12 * max(1, len(total) // 120)))
    axes.set_xlabel(texts("roi.months_axis"))
    _money_axis(axes, economics, texts, "y")
    _end_labels(axes, economics, texts)
    return svg(figure)


def npv_chart(economics: Economics, texts: Texts) -> bytes:
    """How often the evidence allows which NPV; `npv_draws` must not be empty."""
    draws = economics.npv_draws
    counts, edges = np.histogram(draws, bins=_bins(draws))
    figure = Figure(figsize=(WIDTH, HEIGHT))
    figure.subplots_adjust(left=0.06, right=0.94, top=0.85, bottom=0.14)
    axes = figure.subplots()
    colours = [LOW if left >= 0 else HIGH for left in edges[:-1]]
    axes.bar(edges[:-1], 100 * counts / len(draws), np.diff(edges), align="edge", color=colours, edgecolor="white")
    axes.axvline(0, color="#000000", linewidth=1.2)
    plain_axes(axes)
    axes.set_yticks([])
    _money_axis(axes, economics, texts, "x")
    axes.set_xlabel(texts("roi.npv_axis"))
    pays = economics.pays.value or 0.0
    loses = texts("roi.npv_loses", share=probability(1 - pays))
    _two_ends(axes, 1.06, (loses, HIGH), (texts("roi.npv_pays", share=probability(pays)), LOW))
    return svg(figure)


def probability(value: float) -> str:
    """A probability from draws in whole percent; never 0 or 100, which draws cannot show."""
    return "<1%" if value < 0.005 else ">99%" if value > 0.995 else f"{100 * value:.0f}%"


def setting(name: str, value: float, currency: str, texts: Texts) -> str:
    """An assumption's value, or a measured figure's, as people write it."""
    if name in ("defect_prevalence", "discount_rate"):
        return share(value)
    if name in ("recall_loss", "false_alarm_rise"):
        return texts("roi.points", value=f"{100 * value:+.1f}".replace("-", "−"))
    if name in ("cost_of_escape", "cost_of_false_alarm", "price_per_gb_month", "price_per_gb"):
        return price(value, currency, texts)
    if name == "coded_bytes":
        return size(value, texts)
    return texts("roi.times", value=f"{value:g}") if name == "rollout_costs" else count(value)


def _ends(swing: Swing, economics: Economics, texts: Texts) -> str:
    low, high = (setting(swing.name, end, economics.settings.currency, texts) for end in (swing.low, swing.high))
    return f"{low} … {high}"


def _two_ends(axes: Axes, height: float, left: tuple[str, str], right: tuple[str, str]) -> None:
    """A text and its colour above either end of the axes."""
    for x, side, (words, colour) in ((0, "left", left), (1, "right", right)):
        axes.text(x, height, words, transform=axes.transAxes, color=colour, ha=side, fontsize=10, fontweight="bold")


def _money_axis(axes: Axes, economics: Economics, texts: Texts, which: Literal["x", "y"]) -> None:
    """Few ticks in words of money, and room for their words at the ends."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], prune="both" if which == "x" else None))
    axis.set_major_formatter(lambda value, _: money(value, economics.settings.currency, texts))
    axes.tick_params(axis=which, labelsize=9)
    if which == "x":
        axes.margins(x=0.1)


def _end_labels(axes: Axes, economics: Economics, texts: Texts) -> None:
    """What the line and the band come to, right of the axes, pushed apart where they would touch."""
    bottom, top = axes.get_ylim()
    low, high = economics.band[:, -1]
    at = [(low - bottom) / (top - bottom), (economics.expected.cumulative[-1] - bottom) / (top - bottom)]
    at.append((high - bottom) / (top - bottom))
    heights = [min(at[0], at[1] - 0.13), at[1], max(at[2], at[1] + 0.13)]
    values = low, economics.expected.cumulative[-1], high
    names = "roi.cash_low", "roi.cash_expected", "roi.cash_high"
    for height, value, name in zip(heights, values, names, strict=True):
        words = f"{texts(name)}\n{money(value, economics.settings.currency, texts)}"
        look = "bold" if name == "roi.cash_expected" else "normal"
        axes.text(1.02, height, words, transform=axes.transAxes, color=LOW, va="center", fontsize=9, fontweight=look)


def _bins(draws: np.ndarray) -> np.ndarray:
    """Bin edges over nearly all draws, one of them at zero where zero is among them."""
    low, high = np.quantile(draws, [0.002, 0.998])
    width = max((high - low) / _BINS, 1e-6 * max(abs(low), abs(high), 1.0))
    return width * np.arange(np.floor(low / width), np.ceil(high / width) + 2)
