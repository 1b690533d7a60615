"""Sentences that follow from figures: the decision, and whether retraining helps. Decides nothing itself."""

from collections.abc import Mapping, Sequence

from evaluation.decision import MIN_RECALL, Decision, Margins, differences
from evaluation.kpis import Kpi
from evaluation.report.formats import bits, change_of, detector_name, level, number, percent, points
from evaluation.report.texts import Texts
from evaluation.statistics import CONFIDENCE

MOST, SOME = 2 / 3, 1 / 3
"""Shares of the loss that retraining must bring back to be said to bring back most of it, or a part."""


def sentence(decision: Decision, margins: Margins, texts: Texts) -> str:
    """The decision in one sentence; its intervals are those that the tests at `decision.alpha` rest on."""
    kpi = decision.kpi
    tested = differences(kpi, margins, decision.alpha)
    loss, rise = tested.recall_loss, tested.false_alarm_rise
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
        "confidence": level(1 - 2 * decision.alpha),
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
        change = change_of(loss)
        limits = {f"recall_{name}": points(value, sign=True) for name, value in change._asdict().items()}
        limits |= {f"far_{name}": points(value, sign=True) for name, value in rise._asdict().items()}
        return texts("sentence.seen", **values, **limits)
    more = _more(decision.more_defective, decision.more_good, texts)
    return texts("sentence.more", **values, lost=kpi.lost, added=kpi.added, more=more)


def retraining_sentence(by_scenario: Mapping[str, Sequence[Kpi]], texts: Texts) -> str:
    """Whether retraining brings the loss back: the judged codec's rows of one detector per scenario, frozen first.

    Told at the quality with the largest loss of AUROC among those where the frozen detector's loss is shown;
    AUROC, because a detector that flags everything loses no recall.
    """
    confidence = level(CONFIDENCE)
    frozen = [kpi for kpi in by_scenario["frozen"] if kpi.auroc_loss.low > 0]
    if not frozen:
        return texts("scenarios.nothing_lost", confidence=confidence)
    worst = max(frozen, key=lambda kpi: kpi.auroc_loss.value)
    told = [
        _recovery(scenario, worst, kpi, texts)
        for scenario, kpis in by_scenario.items()
        if scenario != "frozen"
        for kpi in kpis
        if kpi.quality == worst.quality
    ]
    begin = texts(
        "scenarios.lost",
        codec=worst.codec,
        quality=worst.quality,
        loss=number(worst.auroc_loss.value, 3),
        low=number(worst.auroc_loss.low, 3),
        high=number(worst.auroc_loss.high, 3),
        recall=points(-worst.recall_loss.value, sign=True),
        far=points(worst.false_alarm_rise.value, sign=True),
        confidence=confidence,
    )
    return begin + texts("scenarios.join").join(told) + texts("scenarios.end")


def _recovery(scenario: str, frozen: Kpi, kpi: Kpi, texts: Texts) -> str:
    share = 1 - kpi.auroc_loss.value / frozen.auroc_loss.value
    grade = "most" if share >= MOST else "some" if share >= SOME else "little"
    return texts(
        f"recovery.{grade}",
        scenario=texts(f"scenario.{scenario}"),
        loss=number(kpi.auroc_loss.value, 3),
        recall=points(-kpi.recall_loss.value, sign=True),
        far=points(kpi.false_alarm_rise.value, sign=True),
        share=f"{100 * min(max(share, 0.0), 1.0):.0f}%",
    )


def _more(defective: int, good: int, texts: Texts) -> str:
    if defective and good:
        return texts("sentence.more_both", defective=defective, good=good)
    name = "sentence.more_defective" if defective else "sentence.more_good"
    return texts(name, count=defective or good)
