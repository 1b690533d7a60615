"""KPIs and the decision, from tables of scores whose outcome can be counted by hand."""

import math

import pandas as pd
import pytest

from evaluation.decision import Margins, decide, judge
from evaluation.kpis import Kpi, compute_kpis, summary_row
from evaluation.statistics import paired_difference, proportion

MARGINS = Margins(recall=0.05, false_alarms=0.05)


def table(defects: list[str], scores: list[float], **columns: object) -> pd.DataFrame:
    rows = {"defect": defects, "score_d": scores, "width": 20, "height": 10, "bytes": 50, "psnr": math.nan}
    return pd.DataFrame({"frame_id": [f"{n}.png" for n in range(len(defects))], **rows, **columns})


def swept(good: int, defective: int, settings: dict[tuple[str, int], tuple[int, int]]) -> list[Kpi]:
    """KPIs where each codec and quality loses some detections and adds some false alarms."""
    defects = [""] * good + ["pit"] * defective
    originals = table(defects, [0.0] * good + [1.0] * defective)
    results = [
        table(
            defects,
            [1.0] * added + [0.0] * (good - added) + [0.0] * lost + [1.0] * (defective - lost),
            codec=codec,
            quality=quality,
        )
        for (codec, quality), (lost, added) in settings.items()
    ]
    return compute_kpis(originals, pd.concat(results), {"d": 0.5})


def test_kpis_are_counted_from_scores_at_the_threshold() -> None:
    defects = ["", "", "", "pit", "pit", "crack", "crack"]
    originals = table(defects, [0.1, 0.2, 0.5, 0.9, 0.8, 0.4, 0.7])
    decoded = table(defects, [0.6, 0.2, 0.4, 0.3, 0.8, 0.5, 0.7], codec="c", quality=9, bytes=25, psnr=40.0)

    original, kpi = compute_kpis(originals, decoded, {"d": 0.5})

    assert (original.detected, original.false_alarms, original.quality) == (3, 1, None)
    assert (kpi.detected, kpi.false_alarms) == (3, 1)
    assert (kpi.lost, kpi.gained, kpi.added, kpi.removed) == (1, 1, 1, 1)
    assert kpi.recall == proportion(3, 4)
    assert kpi.false_alarm_rate == proportion(1, 3)
    assert kpi.recall_loss == paired_difference(1, 1, 4)
    assert [(c.defect, c.frames, c.detected) for c in kpi.classes] == [("crack", 2, 2), ("pit", 2, 1)]
    assert (kpi.bpp, kpi.psnr) == (8 * 25 / 200, 40.0)


def test_psnr_leaves_out_frames_that_did_not_change() -> None:
    defects = ["", "pit"]
    decoded = table(defects, [0.0, 1.0], codec="c", quality=9, psnr=[math.nan, 50.0])

    assert compute_kpis(table(defects, [0.0, 1.0]), decoded, {"d": 0.5})[1].psnr == 50.0


def test_frames_are_paired_by_their_name_and_not_by_their_place() -> None:
    defects = ["", "pit", ""]
    decoded = table(defects, [0.0, 1.0, 0.0], codec="c", quality=9).iloc[::-1]

    kpi = compute_kpis(table(defects, [0.0, 1.0, 0.0]), decoded, {"d": 0.5})[1]

    assert (kpi.lost, kpi.added, kpi.recall.value) == (0, 0, 1.0)


def test_the_summary_row_names_intervals_as_agreed() -> None:
    row = summary_row(swept(20, 10, {("c", 50): (2, 1)})[1])

    assert (row["recall"], row["recall_low"], row["recall_high"]) == proportion(8, 10)
    assert (row["false_alarm_rate"], row["far_low"], row["far_high"]) == proportion(1, 20)


def test_many_frames_without_any_change_are_safe_at_the_smallest_rate() -> None:
    kpis = swept(200, 200, {("a", 90): (0, 0), ("a", 50): (0, 0), ("b", 90): (100, 0)})

    decision = decide(kpis, MARGINS)

    assert (decision.verdict, decision.kpi.codec, decision.kpi.quality) == ("safe", "a", 50)


def test_testing_stops_at_the_first_quality_that_is_not_shown_to_be_safe() -> None:
    """A lower quality that passes by luck does not count."""
    kpis = swept(200, 200, {("a", 90): (0, 0), ("a", 50): (9, 0), ("a", 10): (0, 0)})

    decision = decide(kpis, MARGINS)

    assert judge(kpis[3], MARGINS) == "safe"
    assert (decision.verdict, decision.kpi.quality) == ("safe", 90)


def test_few_frames_without_any_change_are_inconclusive_and_say_how_many_are_missing() -> None:
    decision = decide(swept(80, 30, {("a", 90): (0, 0), ("a", 50): (0, 0), ("a", 10): (9, 0)}), MARGINS)

    assert (decision.verdict, decision.kpi.quality) == ("inconclusive", 50)
    assert (decision.more_defective, decision.more_good) == (73 - 30, 0)


@pytest.mark.parametrize(("lost", "added"), [(60, 0), (0, 60)])
def test_a_loss_that_is_shown_at_the_best_quality_is_unsafe(lost: int, added: int) -> None:
    decision = decide(swept(200, 200, {("a", 90): (lost, added), ("a", 50): (0, 0)}), MARGINS)

    assert (decision.verdict, decision.kpi.quality) == ("unsafe", 90)


def test_a_detector_that_finds_little_on_the_originals_has_little_to_lose_and_gets_no_verdict() -> None:
    defects = [""] * 300 + ["pit"] * 300
    scores = [0.0] * 300 + [0.4] * 295 + [1.0] * 5
    kpis = compute_kpis(table(defects, scores), table(defects, scores, codec="a", quality=90), {"d": 0.5})

    decision = decide(kpis, MARGINS)

    assert judge(kpis[1], MARGINS) == "safe"
    assert (decision.verdict, decision.blind) == ("inconclusive", True)


def test_a_loss_that_is_seen_but_not_shown_is_inconclusive_without_a_number() -> None:
    decision = decide(swept(40, 20, {("a", 90): (2, 0)}), MARGINS)

    assert (decision.verdict, decision.more_defective) == ("inconclusive", None)
