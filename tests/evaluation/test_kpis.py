"""KPIs and the decision, from tables of scores whose outcome can be counted by hand."""

import math

import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from evaluation.decision import Margins, decide, differences, judge
from evaluation.kpis import Kpi, compute_kpis, summary_row
from evaluation.ranking import auroc_difference
from evaluation.scored import Scored
from evaluation.statistics import non_inferiority, paired_difference, proportion
from inspect_compress.errors import ConfigError

MARGINS = Margins(recall=0.05, false_alarms=0.05)
JUDGES = [Scored("d", "frozen")]


def table(defects: list[str], scores: list[float], **columns: object) -> pd.DataFrame:
    rows: dict[str, object] = {
        "defect": defects,
        "score_d": scores,
        "width": 20,
        "height": 10,
        "bytes": 50,
        "psnr": math.nan,
    }
    rows |= {"group": "", "flag_d": [score >= 0.5 for score in scores]}
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
    return compute_kpis(originals, pd.concat(results), JUDGES)


def test_kpis_are_counted_from_scores_at_the_threshold() -> None:
    defects = ["", "", "", "pit", "pit", "crack", "crack"]
    originals = table(defects, [0.1, 0.2, 0.5, 0.9, 0.8, 0.4, 0.7])
    decoded = table(defects, [0.6, 0.2, 0.4, 0.3, 0.8, 0.5, 0.7], codec="c", quality=9, bytes=25, psnr=40.0)

    original, kpi = compute_kpis(originals, decoded, JUDGES)

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

    assert compute_kpis(table(defects, [0.0, 1.0]), decoded, JUDGES)[1].psnr == 50.0


def test_frames_are_paired_by_their_name_and_not_by_their_place() -> None:
    defects = ["", "pit", ""]
    decoded = table(defects, [0.0, 1.0, 0.0], codec="c", quality=9).iloc[::-1]

    kpi = compute_kpis(table(defects, [0.0, 1.0, 0.0]), decoded, JUDGES)[1]

    assert (kpi.lost, kpi.added, kpi.recall.value) == (0, 0, 1.0)


def test_fidelities_are_means_over_the_frames_that_have_one() -> None:
    defects = ["", "pit", "pit"]
    fidelities = {"ms_ssim": [0.9, 0.8, 1.0], "mask_psnr": [math.nan, math.inf, 30.0]}
    fidelities |= {"edges_kept": [math.nan, 0.4, 0.8], "contrast_kept": math.nan}
    decoded = table(defects, [0.0, 1.0, 1.0], codec="c", quality=9, **fidelities)

    original, kpi = compute_kpis(table(defects, [0.0, 1.0, 1.0]), decoded, JUDGES)

    assert (kpi.ms_ssim, kpi.mask_psnr, kpi.edges_kept) == (pytest.approx(0.9), 30.0, pytest.approx(0.6))
    assert all(math.isnan(v) for v in (kpi.contrast_kept, original.ms_ssim, original.edges_kept))


def test_rankings_are_compared_with_those_of_the_originals() -> None:
    defects, before, after = ["", "", "", "pit", "pit"], [0.1, 0.2, 0.6, 0.4, 0.9], [0.3, 0.1, 0.8, 0.2, 0.9]

    kpi = compute_kpis(table(defects, before), table(defects, after, codec="c", quality=9), JUDGES)[1]

    assert kpi.ap.value == pytest.approx(average_precision_score([d != "" for d in defects], after))
    assert kpi.auroc_loss == auroc_difference(before, after, [d != "" for d in defects])


def trained_anew(frames: int) -> list[Kpi]:
    """A detector that loses all defects when frozen, and none when it is retrained in either way."""
    defects = [""] * frames + ["pit"] * frames
    right, blind = [d != "" for d in defects], [False] * 2 * frames
    known = {"score_d_aware": 1.0, "flag_d_aware": right}
    originals = table(defects, [float(d) for d in right], **known)
    decoded = table(defects, [0.0] * 2 * frames, codec="c", quality=9, **known)
    decoded = decoded.assign(flag_d=blind, score_d_adapted=1.0, flag_d_adapted=right)
    return compute_kpis(originals, decoded, [Scored("d", s) for s in ("frozen", "adapted", "aware")])


def test_each_way_of_training_is_compared_with_the_frozen_detector_on_the_originals() -> None:
    kpis = trained_anew(100)

    assert [(k.scenario, k.codec) for k in kpis] == [
        ("frozen", "original"),
        ("frozen", "c"),
        ("adapted", "c"),
        ("aware", "original"),
        ("aware", "c"),
    ]
    assert [k.lost for k in kpis] == [0, 100, 0, 0, 0]


def test_each_way_of_training_has_its_own_verdict() -> None:
    kpis = trained_anew(100)

    verdicts = {s: decide(kpis, MARGINS, scenario=s).verdict for s in ("frozen", "adapted", "aware")}

    assert verdicts == {"frozen": "unsafe", "adapted": "safe", "aware": "safe"}
    with pytest.raises(ConfigError, match="scenario adapted: was not run for the detector d"):
        decide([k for k in kpis if k.scenario != "adapted"], MARGINS, scenario="adapted")


def test_frames_of_few_lots_say_less_and_more_of_them_are_asked_for() -> None:
    defects = [""] * 200 + ["pit"] * 100
    lots = [f"lot-{n // 20}" for n in range(300)]
    scores = [0.0] * 200 + [1.0 + n // 20 for n in range(100)]
    tables = table(defects, scores), table(defects, scores, codec="a", quality=90)

    single = compute_kpis(*tables, JUDGES)
    grouped = compute_kpis(*(t.assign(group=lots) for t in tables), JUDGES)

    assert (decide(single, MARGINS).verdict, decide(grouped, MARGINS).verdict) == ("safe", "inconclusive")
    assert grouped[1].recall_loss.high > 2 * single[1].recall_loss.high
    assert grouped[1].recall.value == single[1].recall.value
    assert decide(grouped, MARGINS).more_defective


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


def test_a_stricter_alpha_needs_more_frames() -> None:
    kpis = swept(400, 100, {("a", 90): (0, 0)})

    assert [decide(kpis, MARGINS, alpha=alpha).verdict for alpha in (0.025, 0.005)] == ["safe", "inconclusive"]
    assert decide(kpis, MARGINS, alpha=0.005).alpha == 0.005


def test_the_limits_and_the_p_value_of_a_decision_are_those_of_its_tests() -> None:
    kpi = swept(200, 150, {("a", 90): (2, 1)})[1]

    found = differences(kpi, MARGINS, 0.05)

    assert found.recall_loss == paired_difference(2, 0, 150, 0.90)
    assert found.p_value == max(non_inferiority(2, 0, 150, 0.05), non_inferiority(1, 0, 200, 0.05))


@pytest.mark.parametrize(("lost", "added"), [(60, 0), (0, 60)])
def test_a_loss_that_is_shown_at_the_best_quality_is_unsafe(lost: int, added: int) -> None:
    decision = decide(swept(200, 200, {("a", 90): (lost, added), ("a", 50): (0, 0)}), MARGINS)

    assert (decision.verdict, decision.kpi.quality) == ("unsafe", 90)


def test_a_detector_that_finds_little_on_the_originals_has_little_to_lose_and_gets_no_verdict() -> None:
    defects = [""] * 300 + ["pit"] * 300
    scores = [0.0] * 300 + [0.4] * 295 + [1.0] * 5
    kpis = compute_kpis(table(defects, scores), table(defects, scores, codec="a", quality=90), JUDGES)

    decision = decide(kpis, MARGINS)

    assert judge(kpis[1], MARGINS) == "safe"
    assert (decision.verdict, decision.blind) == ("inconclusive", True)


def test_a_loss_that_is_seen_but_not_shown_is_inconclusive_without_a_number() -> None:
    decision = decide(swept(40, 20, {("a", 90): (2, 0)}), MARGINS)

    assert (decision.verdict, decision.more_defective) == ("inconclusive", None)
