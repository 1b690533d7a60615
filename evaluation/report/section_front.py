"""The first page's figures: three numbers, the decision's chart, and the assumptions that carry it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.decision import Differences, differences, judge
from evaluation.economics import Economics
from evaluation.evidence import Evidence, Facts
from evaluation.kpis import Kpi
from evaluation.report.forest import ForestTexts, Row, forest_chart
from evaluation.report.formats import bits, change_of, detector_name, level, number, percent, points, size
from evaluation.report.money import money
from evaluation.report.roi_charts import probability
from evaluation.report.texts import Texts
from evaluation.report.wording import sentence
from evaluation.statistics import Estimate


@dataclass(frozen=True)
class Figure:
    """A chart as an SVG file, its title, and what it shows in words for those who cannot see it."""

    title: str
    alt: str
    svg: bytes


@dataclass(frozen=True)
class Key:
    """One of the three numbers, and what is to be known of it."""

    name: str
    number: str
    unit: str
    note: str


@dataclass(frozen=True)
class Front:
    """What the first page shows; `confidence` of its intervals; `basis` holds pairs of a name and a text."""

    sentence: str
    confidence: str
    keys: Sequence[Key]
    charts: Sequence[Figure]
    basis: Sequence[tuple[str, str]]


def front_view(evidence: Evidence, judged: Sequence[Kpi], texts: Texts) -> Front:
    """`judged`: the KPIs of the judged codec and the first detector, frozen, best quality first."""
    confidence = level(1 - 2 * evidence.decision.alpha)
    return Front(
        sentence(evidence.decision, evidence.margins, texts),
        confidence,
        _keys(evidence, texts, confidence),
        _charts(evidence, judged, texts),
        [(texts(f"basis.{name}"), text) for name, text in _basis(evidence, texts, confidence)],
    )


def _keys(evidence: Evidence, texts: Texts, confidence: str) -> list[Key]:
    shown, original = evidence.decision.kpi, evidence.decision.original
    tested = _tested(shown, evidence)
    changes = (
        ("recall", change_of(tested.recall_loss), original.recall, shown.recall, -evidence.margins.recall),
        (
            "far",
            tested.false_alarm_rise,
            original.false_alarm_rate,
            shown.false_alarm_rate,
            evidence.margins.false_alarms,
        ),
    )
    keys = [
        Key(
            texts(f"key.{name}"),
            points(change.value, sign=True),
            texts("key.points"),
            texts(
                "key.change_note",
                before=percent(before.value),
                after=percent(after.value),
                low=points(change.low, sign=True),
                high=points(change.high, sign=True),
                margin=points(margin, sign=True),
                confidence=confidence,
            ),
        )
        for name, change, before, after, margin in changes
    ]
    sizes = {"before": size(original.bytes, texts), "after": size(shown.bytes, texts), "bpp": bits(shown.bpp)}
    keys.append(Key(texts("key.size"), percent(shown.bytes / original.bytes), "", texts("key.size_note", **sizes)))
    return keys


def _charts(evidence: Evidence, judged: Sequence[Kpi], texts: Texts) -> list[Figure]:
    margins, original = evidence.margins, evidence.decision.original
    chosen = evidence.decision.kpi

    def rows(changes: Sequence[Estimate]) -> list[Row]:
        return [
            Row(
                texts("front.row", quality=kpi.quality, share=percent(kpi.bytes / original.bytes)),
                Estimate(100 * change.value, 100 * change.low, 100 * change.high),
                judge(kpi, margins, evidence.decision.alpha),
                kpi.quality == chosen.quality,
            )
            for kpi, change in zip(judged, changes, strict=True)
        ]

    def chart(name: str, changes: Sequence[Estimate], margin: float) -> Figure:
        words = ForestTexts(texts("front.rows"), texts(f"front.{name}_axis"), texts("chart.margin"))
        drawn = forest_chart(rows(changes), 100 * margin, words)
        return Figure(texts(f"front.{name}_title"), texts(f"front.{name}_alt", codec=chosen.codec), drawn)

    return [
        chart("recall", [change_of(_tested(kpi, evidence).recall_loss) for kpi in judged], -margins.recall),
        chart("far", [_tested(kpi, evidence).false_alarm_rise for kpi in judged], margins.false_alarms),
    ]


def _tested(kpi: Kpi, evidence: Evidence) -> Differences:
    """The differences with the limits that the decision rests on."""
    return differences(kpi, evidence.margins, evidence.decision.alpha)


def _threshold(facts: Facts, detector: str, texts: Texts) -> str:
    """Where the threshold came from, and the detector."""
    if detector in facts.own_thresholds:
        fixed = texts("basis.threshold_own")
    else:
        fixed = texts("basis.threshold_calibrated", target=percent(facts.target_false_alarm_rate))
    taught = texts("basis.came_trained") if detector in facts.came_trained else texts("basis.trained")
    return f"{fixed} {taught}"


def _basis(evidence: Evidence, texts: Texts, confidence: str) -> list[tuple[str, str]]:
    facts, shown = evidence.facts, evidence.decision.kpi
    entries = [
        ("frames", texts("basis.frames_text", defective=shown.defective, good=shown.good)),
        ("independence", independence(evidence, texts)),
        ("threshold", _threshold(facts, shown.detector, texts)),
        (
            "margins",
            texts(
                "basis.margins_text",
                recall_margin=points(evidence.margins.recall),
                far_margin=points(evidence.margins.false_alarms),
                alpha=level(evidence.decision.alpha),
            ),
        ),
        ("rule", texts("basis.rule_text", codec=shown.codec, confidence=confidence)),
        ("leakage", leakage_words(evidence, texts)),
    ]
    if evidence.economics is not None:
        entries.append(("money", _money(evidence.economics, texts)))
    return entries + [("left_out", words) for words in _left_out(evidence, texts)]


def _money(economics: Economics, texts: Texts) -> str:
    """What it is worth, on whose prices."""
    npv, savings, pays = economics.expected.npv, economics.expected.monthly_savings, economics.pays
    if npv.value is None or savings.value is None or pays.value is None:
        words = texts("basis.money_unknown", reason=texts(f"roi.why_{npv.reason}"))
    else:
        words = texts(
            "basis.money_text",
            npv=money(npv.value, economics.settings.currency, texts, sign=True),
            years=economics.settings.finance.horizon_years,
            savings=money(savings.value, economics.settings.currency, texts, sign=True),
            pays=probability(pays.value),
        )
    examples = [assumption for assumption in economics.assumptions if assumption.example]
    return words + (" " + texts("basis.money_example") if examples else "")


def independence(evidence: Evidence, texts: Texts) -> str:
    """How frames of one lot or part are counted, and what that costs."""
    groups, design = evidence.facts.groups, evidence.decision.kpi.loss_design
    if math.isfinite(design.groups):
        return texts("basis.grouped", groups=groups, effect=number(design.effect))
    return texts("basis.single", groups=groups) if groups else texts("basis.independent")


def leakage_words(evidence: Evidence, texts: Texts) -> str:
    """Whether test frames were seen in training, in one sentence."""
    found = evidence.leakage
    if not (found.exact or found.near or found.groups):
        return texts("leakage.none")
    return texts("leakage.found", exact=len(found.exact), near=len(found.near), groups=len(found.groups))


def _left_out(evidence: Evidence, texts: Texts) -> list[str]:
    """Which detectors are missing, wholly or retrained, and why: a sentence each."""
    facts = evidence.facts
    counts = {"found": facts.splits["train"][1], "needed": facts.needed}
    detectors = {
        (column.removesuffix("_adapted").removesuffix("_aware"), reason): None
        for column, reason in facts.left_out.items()
    }
    return [
        texts("left_out.text", detector=detector_name(name, texts), reason=texts(f"left_out.{reason}", **counts))
        for name, reason in detectors
    ]
