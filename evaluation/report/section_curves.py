"""The BD table: codecs against the anchor over their whole range, each figure with its overlap and its doubts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.curves import BdRecall
from evaluation.evidence import Evidence
from evaluation.report.formats import number, points
from evaluation.report.texts import Texts
from inspect_compress.bd import MIN_OVERLAP, BdRate

COLUMNS = ("bd_rate_psnr", "bd_rate_ms_ssim", "bd_rate_mask_psnr", "bd_recall")


@dataclass(frozen=True)
class CurveCell:
    """A figure or a dash, its interval and overlap, and what speaks against relying on it."""

    value: str
    range: str
    reliable: bool
    reason: str


@dataclass(frozen=True)
class CurveRow:
    """A codec's figures, in the order of the columns."""

    codec: str
    cells: Sequence[CurveCell]


@dataclass(frozen=True)
class CurvesView:
    """The table; no rows where there is one codec. Columns without any figure are left out."""

    lead: str
    columns: Sequence[str]
    rows: Sequence[CurveRow]


def curves_view(evidence: Evidence, texts: Texts) -> CurvesView:
    """All codecs but the anchor."""
    curves = evidence.curves
    if not curves:
        return CurvesView("", (), ())
    columns = [name for name in COLUMNS if any(getattr(curve, name).overlap is not None for curve in curves)]
    rows = [CurveRow(curve.codec, [_cell(getattr(curve, name), texts) for name in columns]) for curve in curves]
    return CurvesView(texts("curves.lead", anchor=curves[0].anchor), columns, rows)


def _cell(found: BdRate | BdRecall, texts: Texts) -> CurveCell:
    if found.overlap is None:
        return CurveCell("–", "", False, texts("curves.incomparable"))
    overlap = texts("curves.overlap", share=f"{found.overlap:.0%}")
    reason = ""
    if not found.reliable:
        reason = texts("curves.small_overlap" if found.overlap < MIN_OVERLAP else "curves.few_points")
    if isinstance(found, BdRate):
        value = "–" if found.percent is None else number(found.percent, sign=True) + "%"
        return CurveCell(value, overlap, found.reliable, reason)
    at = found.difference
    if at is None:
        return CurveCell("–", overlap, False, reason)
    if not math.isnan(at.low):
        overlap = f"({points(at.low, sign=True)} … {points(at.high, sign=True)}) {overlap}"
    return CurveCell(points(at.value, sign=True), overlap, found.reliable, reason)
