"""The evidence: detection per detector, scenarios side by side, fidelity and size."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.evidence import Evidence
from evaluation.kpis import ORIGINAL, Kpi
from evaluation.report.charts import ChartTexts, Level, Line, line_chart
from evaluation.report.formats import detector_name, number, percent
from evaluation.report.section_front import Figure
from evaluation.report.texts import Texts
from evaluation.report.wording import retraining_sentence
from evaluation.statistics import Estimate

NO_BOUNDS = (-math.inf, math.inf)
FIDELITY: Mapping[str, Callable[[Kpi], str]] = {
    "psnr": lambda kpi: number(kpi.psnr),
    "ms_ssim": lambda kpi: number(kpi.ms_ssim, 4),
    "mask_psnr": lambda kpi: number(kpi.mask_psnr),
    "edges_kept": lambda kpi: percent(kpi.edges_kept),
    "contrast_kept": lambda kpi: percent(kpi.contrast_kept),
}
"""The columns on fidelity; those that need masks are left out where there are none."""


@dataclass(frozen=True)
class Detection:
    """One frozen detector: its charts and rows."""

    name: str
    charts: Sequence[Figure]
    kpis: Sequence[Kpi]


@dataclass(frozen=True)
class SideBySideRow:
    """One codec and quality; a KPI per scenario, None where it was not measured."""

    codec: str
    quality: int | None
    kpis: Sequence[Kpi | None]


@dataclass(frozen=True)
class SideBySide:
    """One detector under all its scenarios."""

    name: str
    scenarios: Sequence[str]
    rows: Sequence[SideBySideRow]


@dataclass(frozen=True)
class SizeRow:
    """One way to store the test frames: bytes per frame, share of the originals, length of the bar, fidelity."""

    name: str
    codec: str
    quality: int | None
    mean: float
    share: float
    bar: float
    fidelity: Sequence[str]


@dataclass(frozen=True)
class EvidenceView:
    """What the section shows."""

    lead: str
    primary: Sequence[Kpi]
    detectors: Sequence[Detection]
    scenarios: Sequence[str]
    retraining: str
    verdicts: Mapping[str, str]
    scenario_charts: Sequence[Figure]
    side_by_side: Sequence[SideBySide]
    fidelity_charts: Sequence[Figure]
    fidelity_columns: tuple[str, ...]
    sizes: Sequence[SizeRow]


def select(kpis: Sequence[Kpi], *, detector: str, scenario: str = "frozen", codec: str | None = None) -> list[Kpi]:
    """The rows of one detector and scenario, and of one codec where it is named."""
    return [
        kpi for kpi in kpis if (kpi.detector, kpi.scenario) == (detector, scenario) and codec in (None, kpi.codec)
    ]


def evidence_view(evidence: Evidence, texts: Texts) -> EvidenceView:
    """Everything of the section, in the order of the page."""
    kpis, shown = evidence.kpis, evidence.decision.kpi
    names = list(dict.fromkeys(kpi.detector for kpi in kpis))
    primary = select(kpis, detector=shown.detector)
    scenarios = list(dict.fromkeys(kpi.scenario for kpi in kpis))
    judged = {name: select(kpis, detector=shown.detector, scenario=name, codec=shown.codec) for name in scenarios}
    columns = tuple(name for name in FIDELITY if any(FIDELITY[name](kpi) != "–" for kpi in primary))
    return EvidenceView(
        lead=texts("evidence.lead", codec=shown.codec, detector=detector_name(shown.detector, texts)),
        primary=primary,
        detectors=[_detection(name, evidence, texts) for name in names],
        scenarios=scenarios,
        retraining=retraining_sentence(judged, texts),
        verdicts={name: _verdict(name, evidence, texts) for name in evidence.scenario_decisions},
        scenario_charts=_scenario_charts(judged, evidence, texts),
        side_by_side=[block for name in names if len((block := _side_by_side(name, kpis, texts)).scenarios) > 1],
        fidelity_charts=_fidelity_charts(primary, texts),
        fidelity_columns=columns,
        sizes=_sizes(primary, columns, evidence.facts.raw_bytes, texts),
    )


def _detection(detector: str, evidence: Evidence, texts: Texts) -> Detection:
    kpis = select(evidence.kpis, detector=detector)
    original, margins = kpis[0], evidence.margins
    recall_limit = original.recall.value - margins.recall
    far_limit = original.false_alarm_rate.value + margins.false_alarms
    name = detector_name(detector, texts)
    charts = [
        _rate_figure("recall", kpis, lambda kpi: kpi.recall, recall_limit, texts),
        _rate_figure("far", kpis, lambda kpi: kpi.false_alarm_rate, far_limit, texts),
    ]
    return Detection(name, charts, kpis)


def _rate_figure(
    name: str, kpis: Sequence[Kpi], rate: Callable[[Kpi], Estimate], limit: float, texts: Texts
) -> Figure:
    """A rate in percent over bits per pixel, a line per codec; `kpis` begin with the originals."""
    lines = [
        Line(codec, [(kpi.bpp, _percent(rate(kpi))) for kpi in kpis if kpi.codec == codec])
        for codec in dict.fromkeys(kpi.codec for kpi in kpis if kpi.codec != ORIGINAL)
    ]
    return _figure(name, lines, _levels(rate(kpis[0]), limit, texts), (0, 100), texts)


def _levels(original: Estimate, limit: float, texts: Texts) -> list[Level]:
    margin = Estimate(100 * limit, math.nan, math.nan)
    return [Level(texts("chart.original"), _percent(original), "--"), Level(texts("chart.margin"), margin, ":")]


def _figure(
    name: str, lines: Sequence[Line], levels: Sequence[Level], bounds: tuple[float, float], texts: Texts
) -> Figure:
    words = ChartTexts(texts("chart.bpp"), texts(f"chart.{name}_axis"))
    return Figure(texts(f"chart.{name}_title"), texts(f"chart.{name}_alt"), line_chart(lines, levels, words, bounds))


def _percent(share: Estimate) -> Estimate:
    return Estimate(*(100 * value for value in share))


def _scenario_charts(judged: Mapping[str, Sequence[Kpi]], evidence: Evidence, texts: Texts) -> list[Figure]:
    """Recall and false alarms of the judged codec, a line per scenario."""
    if len(judged) < 2:
        return []
    original, margins = evidence.decision.original, evidence.margins

    def figure(name: str, rate: Callable[[Kpi], Estimate], limit: float) -> Figure:
        lines = [
            Line(texts(f"scenario.{scenario}"), [(kpi.bpp, _percent(rate(kpi))) for kpi in kpis])
            for scenario, kpis in judged.items()
            if kpis
        ]
        return _figure(name, lines, _levels(rate(original), limit, texts), (0, 100), texts)

    far_limit = original.false_alarm_rate.value + margins.false_alarms
    return [
        figure("scenario_recall", lambda kpi: kpi.recall, original.recall.value - margins.recall),
        figure("scenario_far", lambda kpi: kpi.false_alarm_rate, far_limit),
    ]


def _verdict(scenario: str, evidence: Evidence, texts: Texts) -> str:
    decision = evidence.scenario_decisions[scenario]
    words = texts(f"verdict.{decision.verdict}")
    return texts("scenarios.verdict", verdict=words, codec=decision.kpi.codec, quality=decision.kpi.quality)


def _side_by_side(detector: str, kpis: Sequence[Kpi], texts: Texts) -> SideBySide:
    own = [kpi for kpi in kpis if kpi.detector == detector]
    scenarios = list(dict.fromkeys(kpi.scenario for kpi in own))
    settings = list(dict.fromkeys((kpi.codec, kpi.quality) for kpi in own))
    at = {(kpi.scenario, kpi.codec, kpi.quality): kpi for kpi in own}
    rows = [
        SideBySideRow(codec, quality, [at.get((name, codec, quality)) for name in scenarios])
        for codec, quality in settings
    ]
    return SideBySide(detector_name(detector, texts), scenarios, rows)


def _fidelity_charts(primary: Sequence[Kpi], texts: Texts) -> list[Figure]:
    figures = []
    for name in ("psnr", "ms_ssim"):
        lines = []
        for codec in dict.fromkeys(kpi.codec for kpi in primary[1:]):
            known = [k for k in primary if k.codec == codec and not math.isnan(getattr(k, name))]
            points = [(kpi.bpp, Estimate(getattr(kpi, name), math.nan, math.nan)) for kpi in known]
            lines += [Line(codec, points)] if points else []
        if lines:
            figures.append(_figure(name, lines, [], NO_BOUNDS, texts))
    return figures


def _sizes(primary: Sequence[Kpi], columns: Sequence[str], raw_bytes: int, texts: Texts) -> list[SizeRow]:
    original = primary[0]
    frames = original.defective + original.good
    largest = max(raw_bytes, *(kpi.bytes for kpi in primary))

    def row(name: str, codec: str, quality: int | None, count: int, fidelity: Sequence[str]) -> SizeRow:
        return SizeRow(name, codec, quality, count / frames, count / original.bytes, 100 * count / largest, fidelity)

    none = [""] * len(columns)
    return [
        row(texts("fidelity.raw"), ORIGINAL, None, raw_bytes, none),
        row(texts("fidelity.original"), ORIGINAL, None, original.bytes, none),
        *(
            row(
                f"{kpi.codec} {kpi.quality}",
                kpi.codec,
                kpi.quality,
                kpi.bytes,
                [FIDELITY[name](kpi) for name in columns],
            )
            for kpi in primary[1:]
        ),
    ]
