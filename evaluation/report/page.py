"""Puts the figures into the page: one self-contained HTML file. The words are in the language's catalogue."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from evaluation.decision import MIN_RECALL, Decision, Margins, judge
from evaluation.kpis import Kpi
from evaluation.report.charts import ChartTexts, rate_chart
from evaluation.report.samples import Sample
from evaluation.report.texts import Texts
from evaluation.statistics import Estimate


@dataclass(frozen=True)
class Facts:
    """What the report says besides KPIs: where the figures come from.

    `splits` holds the numbers of good and defective frames per split, `kinds` those of test frames per kind
    of defect, `models` the fingerprint per codec (empty without one), `left_out` the detectors that could
    not be trained, for want of `needed` defective train frames, `settings` the configuration as TOML.
    """

    dataset: str
    made_at: datetime
    splits: Mapping[str, tuple[int, int]]
    kinds: Mapping[str, int]
    groups: int
    raw_bytes: int
    target_false_alarm_rate: float
    seed: int
    thresholds: Mapping[str, float]
    left_out: Sequence[str]
    needed: int
    models: Mapping[str, str]
    qualities: Sequence[int]
    versions: Mapping[str, str]
    settings: str


def render_report(
    kpis: Sequence[Kpi],
    decision: Decision,
    margins: Margins,
    samples: Sequence[Sample],
    facts: Facts,
    texts: Texts,
) -> str:
    """Return the page. `kpis` as `compute_kpis` gives them; those of the first detector carry the verdict."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= _filters(texts)
    folder = files("evaluation.report")
    template = environment.from_string(folder.joinpath("report.html").read_text(encoding="utf-8"))
    detectors = list(dict.fromkeys(kpi.detector for kpi in kpis))
    primary = [kpi for kpi in kpis if kpi.detector == detectors[0]]
    return template.render(
        t=texts,
        css=folder.joinpath("report.css").read_text(encoding="utf-8"),
        kpis_of={name: [kpi for kpi in kpis if kpi.detector == name] for name in detectors},
        primary=primary,
        original=primary[0],
        codec_rows=primary[1:],
        defects=sorted(facts.kinds),
        decision=decision,
        sentence=sentence(decision, margins, texts),
        judge=lambda kpi: judge(kpi, margins),
        margins=margins,
        charts=_charts(primary, margins, texts),
        samples=samples,
        facts=facts,
        largest=max(facts.raw_bytes, *(kpi.bytes for kpi in primary)),
    )


def sentence(decision: Decision, margins: Margins, texts: Texts) -> str:
    """The decision in one sentence."""
    kpi = decision.kpi
    loss, rise = kpi.recall_loss, kpi.false_alarm_rise
    values = {
        "codec": kpi.codec,
        "quality": kpi.quality,
        "detector": detector_name(kpi.detector, texts),
        "bpp": bits(kpi.bpp),
        "share": percent(kpi.bytes / decision.original.bytes),
        "recall_margin": points(margins.recall),
        "far_margin": points(margins.false_alarms),
        "defective": kpi.defective,
        "good": kpi.good,
    }
    if decision.verdict == "safe":
        return texts("sentence.safe", **values)
    if decision.verdict == "unsafe" and loss.low > margins.recall:
        limits = {"loss": points(loss.value), "low": points(loss.low), "high": points(loss.high)}
        return texts("sentence.unsafe_recall", **values, **limits)
    if decision.verdict == "unsafe":
        limits = {"rise": points(rise.value), "low": points(rise.low), "high": points(rise.high)}
        return texts("sentence.unsafe_false_alarms", **values, **limits)
    if decision.blind:
        found = {"recall": percent(decision.original.recall.value), "needed": percent(MIN_RECALL)}
        return texts("sentence.blind", **values, **found)
    if decision.more_defective is None or decision.more_good is None:
        change = Estimate(-loss.value, -loss.high, -loss.low)
        limits = {f"recall_{name}": points(value, sign=True) for name, value in change._asdict().items()}
        limits |= {f"far_{name}": points(value, sign=True) for name, value in rise._asdict().items()}
        return texts("sentence.seen", **values, **limits)
    more = _more(decision.more_defective, decision.more_good, texts)
    return texts("sentence.more", **values, lost=kpi.lost, added=kpi.added, more=more)


def percent(share: float) -> str:
    """A share of one as a percentage with one decimal, e.g. `97.5%`."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}%"


def points(share: float, *, sign: bool = False) -> str:
    """A difference of shares in percentage points with one decimal, e.g. `2.5`; a true minus sign."""
    text = f"{100 * share:+.1f}" if sign else f"{100 * share:.1f}"
    return text.replace("+0.0", "0.0").replace("-0.0", "0.0").replace("-", "−")


def bits(bpp: float) -> str:
    """Bits per pixel with three significant digits."""
    return f"{bpp:.2f}" if bpp >= 1 else f"{bpp:.3f}"


def size(count: float, texts: Texts) -> str:
    """A number of bytes in decimal units."""
    for unit, factor in (("gigabytes", 1e9), ("megabytes", 1e6), ("kilobytes", 1e3)):
        if count >= factor:
            return texts(f"unit.{unit}", value=f"{count / factor:.3g}")
    return texts("unit.bytes", value=f"{count:.0f}")


def detector_name(name: str, texts: Texts) -> str:
    """What a detector is called in the language; a plant's own keeps its name."""
    return texts.entries.get(f"detector.{name}", name)


def _more(defective: int, good: int, texts: Texts) -> str:
    if defective and good:
        return texts("sentence.more_both", defective=defective, good=good)
    name = "sentence.more_defective" if defective else "sentence.more_good"
    return texts(name, count=defective or good)


def _filters(texts: Texts) -> dict[str, Any]:
    return {
        "percent": percent,
        "points": points,
        "bits": bits,
        "detector": lambda name: detector_name(name, texts),
        "size": lambda count: size(count, texts),
        "change": lambda loss: Estimate(-loss.value, -loss.high, -loss.low),
        "png": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
        "svg": lambda data: "data:image/svg+xml;base64," + base64.b64encode(data).decode(),
        "isnan": math.isnan,
    }


def _charts(kpis: Sequence[Kpi], margins: Margins, texts: Texts) -> list[dict[str, Any]]:
    def words(name: str) -> ChartTexts:
        axis = texts(f"chart.{name}_axis")
        return ChartTexts(texts("chart.bpp"), axis, texts("chart.original"), texts("chart.margin"))

    original = kpis[0]
    recall = rate_chart(kpis, lambda kpi: kpi.recall, original.recall.value - margins.recall, words("recall"))
    alarms = rate_chart(
        kpis,
        lambda kpi: kpi.false_alarm_rate,
        original.false_alarm_rate.value + margins.false_alarms,
        words("far"),
    )
    return [
        {"title": texts("chart.recall_title"), "alt": texts("chart.recall_alt"), "svg": recall},
        {"title": texts("chart.far_title"), "alt": texts("chart.far_alt"), "svg": alarms},
    ]
