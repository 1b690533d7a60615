"""Codecs compared over all their qualities at once: BD-rate at equal fidelity, BD-recall at equal bits.

A summary for choosing between codecs. It judges no setting: that is the decision's business.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from evaluation.grouping import group_codes, summed_variance
from evaluation.kpis import ORIGINAL, Kpi
from evaluation.statistics import CONFIDENCE, Estimate
from inspect_compress.bd import BdRate, bd_rate, doubt_of
from inspect_compress.errors import ConfigError


@dataclass(frozen=True)
class BdRecall:
    """A BD-recall, or why there is none: exactly one of `difference` and `reason` is set."""

    difference: Estimate | None
    """Mean difference of recall at equal bits, codec minus anchor, as a share of one; above zero finds more."""
    reason: str = ""
    span: tuple[float, float] | None = None
    """The range of bits per pixel that both codecs cover and over which the mean was taken."""
    overlap: float | None = None
    """That range as a share of the anchor's, in log bits per pixel."""
    doubt: str = ""
    """What speaks against relying on it; empty where nothing does."""

    @property
    def reliable(self) -> bool:
        return self.difference is not None and not self.doubt


@dataclass(frozen=True)
class CodecCurve:
    """A codec against the anchor over all qualities; MS-SSIM on its dB scale, `-10 log10(1 - MS-SSIM)`."""

    codec: str
    anchor: str
    bd_rate_psnr: BdRate
    bd_rate_ms_ssim: BdRate
    bd_rate_mask_psnr: BdRate
    bd_recall: BdRecall


def compare_codecs(kpis: Sequence[Kpi], anchor: str, results: pd.DataFrame | None = None) -> list[CodecCurve]:
    """Compare each other codec with `anchor`, for the first detector, frozen.

    `kpis` as `compute_kpis` gives them. `results`: the table that they came from; BD-recall has limits only
    with it. Definitions: docs/metrics.md. Raises ConfigError where the anchor was not swept.
    """
    own = [k for k in kpis if (k.detector, k.scenario) == (kpis[0].detector, "frozen") and k.codec != ORIGINAL]
    by_codec = {codec: [k for k in own if k.codec == codec] for codec in dict.fromkeys(k.codec for k in own)}
    if anchor not in by_codec:
        raise ConfigError(f"anchor {anchor}: was not swept; choose one of {', '.join(by_codec)}")
    return [_compare(by_codec[codec], by_codec[anchor], results) for codec in by_codec if codec != anchor]


def _compare(test: Sequence[Kpi], anchor: Sequence[Kpi], results: pd.DataFrame | None) -> CodecCurve:
    def rate(metric: str, value: Callable[[Kpi], float]) -> BdRate:
        points = [[(kpi.bpp, value(kpi)) for kpi in curve] for curve in (anchor, test)]
        return bd_rate(*points, metric=metric)

    return CodecCurve(
        codec=test[0].codec,
        anchor=anchor[0].codec,
        bd_rate_psnr=rate("PSNR", lambda kpi: kpi.psnr),
        bd_rate_ms_ssim=rate("MS-SSIM", lambda kpi: _decibels(kpi.ms_ssim)),
        bd_rate_mask_psnr=rate("PSNR in masks", lambda kpi: kpi.mask_psnr),
        bd_recall=bd_recall(test, anchor, results),
    )


def bd_recall(test: Sequence[Kpi], anchor: Sequence[Kpi], results: pd.DataFrame | None = None) -> BdRecall:
    """Mean over the shared range of log bpp of the difference of two recall curves, linear between qualities.

    `test` and `anchor`: one codec's KPIs each, of one detector. The mean is a weighted sum of recalls, hence
    a mean over defective frames; its limits (with `results`) are a t interval, over groups where there are any.
    """
    rates = [np.log([k.bpp for k in curve]) for curve in (anchor, test)]
    low, high = max(x.min() for x in rates), min(x.max() for x in rates)
    for name, x in zip(("the anchor", "the codec"), rates, strict=True):
        if np.ptp(x) == 0:
            return BdRecall(None, f"{name} was measured at one rate only; two or more are needed")
    if low >= high:
        spans = [f"{math.exp(x.min()):.3g}-{math.exp(x.max()):.3g} bpp" for x in rates]
        return BdRecall(None, f"the curves share no range of bits ({spans[0]} and {spans[1]})")
    weights = [_mean_weights(x, low, high) for x in rates]
    recalls = [np.array([k.recall.value for k in curve]) for curve in (anchor, test)]
    value = float(weights[1] @ recalls[1] - weights[0] @ recalls[0])
    half = math.nan if results is None else _half_width([*zip((test, anchor), weights[::-1], strict=True)], results)
    inside = {
        name: int(((x >= low) & (x <= high)).sum())
        for name, x in zip(("the anchor", "the codec"), rates, strict=True)
    }
    overlap = float((high - low) / np.ptp(rates[0]))
    span = (math.exp(low), math.exp(high))
    return BdRecall(Estimate(value, value - half, value + half), "", span, overlap, doubt_of(overlap, inside))


def _mean_weights(x: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """What each point `x` `(n,)` weighs in the mean over `low` to `high` of the line through the points.

    Points of equal `x` share their weight.
    """
    places, owner, counts = np.unique(x, return_inverse=True, return_counts=True)
    grid = np.concatenate([[low], places[(places > low) & (places < high)], [high]])
    hats = np.array([np.interp(grid, places, unit) for unit in np.eye(len(places))])
    weights = np.trapezoid(hats, grid, axis=1) / (high - low)
    return np.asarray((weights / counts)[owner], np.float64)


def _half_width(signed: Sequence[tuple[Sequence[Kpi], NDArray[np.float64]]], results: pd.DataFrame) -> float:
    """Half the interval of the mean over defective frames of what each adds to the first curve less the second."""
    defective = results[results["defect"] != ""]
    flagged = defective.set_index(["codec", "quality", "frame_id"]).sort_index()[f"flag_{signed[0][0][0].detector}"]
    frames = defective.drop_duplicates("frame_id")
    total = np.zeros(len(frames))
    for sign, (curve, weights) in zip((1, -1), signed, strict=True):
        for kpi, weight in zip(curve, weights, strict=True):
            flags = flagged.loc[(kpi.codec, kpi.quality)].loc[frames["frame_id"]].to_numpy(float)
            total += sign * weight * flags
    if len(total) < 2:
        return math.nan
    codes = group_codes(frames["group"].tolist())
    codes = np.arange(len(total)) if codes is None else codes
    deviation = math.sqrt(summed_variance(total - total.mean(), codes)) / len(total)
    return deviation * float(t.ppf((1 + CONFIDENCE) / 2, len(np.unique(codes)) - 1))


def _decibels(ms_ssim: float) -> float:
    return math.inf if ms_ssim >= 1 else -10 * math.log10(1 - ms_ssim)
