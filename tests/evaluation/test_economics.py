"""The return on investment: worked by hand, against numpy-financial, and as laws that hold for any plant."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy_financial as npf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.cashflow import cashflow, months_kept, present_value
from evaluation.economics import economics, payback_month, summary, yearly_irr
from evaluation.outcome import Effect, Outcome, measure
from evaluation.roi_config import RoiSettings, example_settings
from evaluation.statistics import Estimate
from inspect_compress.errors import DatasetError
from tests.evaluation.roi_cases import make_outcome, make_settings

NO_COSTS = {"hardware": 0, "setup": 0, "licences_per_year": 0, "running_per_month": 0}
KEPT = [0, 0.25, 1, 2, 2.75, *[3] * 7]
"""Months' worth of compressed frames kept in each month of the small plant, by hand."""
quick = settings(max_examples=15, deadline=None)


def test_money_of_each_month_worked_by_hand() -> None:
    # 100,000 frames a month, 0.9 MB saved each: 90 GB a month; 2 copies at 10 a GB and month; 1 a GB sent.
    # 2 % of 1,000 defective frames more pass, at 5 each; 1 % of 99,000 good ones more are flagged, at 0.1 each.
    flow = cashflow(make_settings(), Effect(900_000, 900_000, 0.02, 0.01))

    shares = np.array([0, 0.5] + 10 * [1])
    np.testing.assert_allclose(flow.storage_saved, 1800 * np.array(KEPT))
    np.testing.assert_allclose(flow.transfer_saved, 90 * shares)
    np.testing.assert_allclose(flow.escapes_cost, 100 * shares)
    np.testing.assert_allclose(flow.false_alarms_cost, 99 * shares)
    np.testing.assert_allclose(flow.running_cost, [0, 30] + 10 * [50])
    np.testing.assert_allclose(flow.invested, [1000, 500, 2000] + 9 * [0])
    np.testing.assert_allclose(flow.cash[:4], [-1000, -500, 450 + 45 - 50 - 49.5 - 30 - 2000, 1800 + 90 - 199 - 50])


def test_storage_grows_until_the_retention_is_reached() -> None:
    np.testing.assert_allclose(months_kept(np.ones(6), 3), [0.5, 1.5, 2.5, 3, 3, 3])
    np.testing.assert_allclose(months_kept(np.ones(3), 60), [0.5, 1.5, 2.5])
    np.testing.assert_allclose(months_kept(make_shares(), 3), KEPT)


def make_shares() -> np.ndarray:
    return np.array([0, 0.5] + 10 * [1])


def test_npv_and_irr_agree_with_numpy_financial() -> None:
    result = economics(make_settings(), make_outcome(lost=2, added=1))
    cash = np.diff(result.expected.cumulative, prepend=0.0)

    assert result.expected.npv.value == pytest.approx(npf.npv(1.05 ** (1 / 12) - 1, cash))
    assert result.expected.irr.value == pytest.approx((1 + npf.irr(cash)) ** 12 - 1)


def test_the_rate_found_makes_the_npv_zero() -> None:
    result = economics(make_settings(), make_outcome())
    rate = result.expected.irr.value
    assert rate is not None
    cash = np.diff(result.expected.cumulative, prepend=0.0)

    assert npf.npv((1 + rate) ** (1 / 12) - 1, cash) == pytest.approx(0, abs=1e-6)


def test_the_irr_of_a_year_is_that_of_the_textbook() -> None:
    cash = np.zeros(13)
    cash[0], cash[12] = -100, 115

    assert yearly_irr(cash).value == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("cash", "payback", "irr"),
    [
        ([-100, 60, 60], 2.0, None),
        ([-100, 60, 60, -50, 60], 4.0, "several_rates"),
        ([-100, 10, 10], "never", "never"),
        ([0, 10, 10], "no_investment", "no_investment"),
        ([0, 0, 0], "no_investment", "no_investment"),
        ([0, 20, -10], 0.0, "several_rates"),
    ],
)
def test_what_has_no_answer_says_why(cash: list[float], payback: float | str, irr: str | None) -> None:
    back, rate = payback_month(np.array(cash, float)), yearly_irr(np.array(cash, float))

    assert payback in (back.value, back.reason)
    assert rate.reason == (irr or "")
    assert (rate.value is None) == (irr is not None)


def test_data_before_and_after_worked_by_hand() -> None:
    result = economics(make_settings(), make_outcome())

    assert (result.before.sent, result.after.sent) == pytest.approx((100e9, 10e9))
    assert (result.before.sent_cost, result.after.sent_cost) == pytest.approx((100, 10))
    assert (result.before.kept_for_good_cost, result.after.kept_for_good_cost) == pytest.approx((6000, 600))
    assert (result.before.kept_at_end, result.after.kept_at_end) == pytest.approx((600e9, 60e9))
    # 10 GB a day over 10 hours of 8 Mbit/s, which carry 36 GB
    assert (result.before.link_load, result.after.link_load) == pytest.approx((10 / 36, 1 / 36))


def test_a_link_that_is_too_slow_today_can_keep_up_after() -> None:
    result = economics(make_settings(link={"speed_mbit_s": 1}), make_outcome())

    assert not result.before.keeps_up
    assert result.after.keeps_up


def test_sizes_are_weighted_to_the_plants_share_of_defects() -> None:
    outcome = make_outcome()
    sizes = np.where(outcome.defective, 2_000_000, 1_000_000)

    result = economics(make_settings(), Outcome(sizes, sizes // 10, *rest(outcome)))

    assert result.before.bytes_per_frame == pytest.approx(0.01 * 2e6 + 0.99 * 1e6)


def rest(outcome: Outcome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return outcome.defective, outcome.flagged_before, outcome.flagged_after


def test_changes_are_those_of_the_plants_frames_not_of_the_test_set() -> None:
    result = economics(make_settings(), make_outcome(lost=3, gained=1, added=5, removed=1))

    assert result.expected.recall_loss.value == pytest.approx(0.02)
    assert result.expected.escapes.value == pytest.approx(0.02 * 1_000)
    assert result.expected.false_alarms.value == pytest.approx(0.04 * 99_000)
    assert result.expected.components["escapes"].value == pytest.approx(-0.02 * 1_000 * 5)


def test_verdicts_on_originals_cost_nothing() -> None:
    result = economics(make_settings(stages={"verdict_on": "original"}), make_outcome(lost=50, added=50))

    assert result.expected.components["escapes"].value == 0
    assert result.expected.components["false_alarms"].value == 0
    assert result.expected.escapes.value == 0


def test_break_even_is_where_the_npv_is_zero() -> None:
    plan, outcome = make_settings(plant={"cost_of_escape": 500}), make_outcome(lost=5)
    share = economics(plan, outcome).expected.break_even.value
    assert share is not None

    at = economics(plan.varied("defect_prevalence", share), outcome).expected
    below = economics(plan.varied("defect_prevalence", share / 2), outcome).expected

    assert at.npv.value == pytest.approx(0, abs=1e-6)
    assert at.pays_below
    assert below.npv.value is not None
    assert below.npv.value > 0


def test_without_loss_it_pays_at_any_share_but_not_in_the_pessimistic_case() -> None:
    result = economics(make_settings(plant={"cost_of_escape": 5_000}), make_outcome())

    assert result.expected.break_even.reason == "pays_always"
    assert result.pessimistic.break_even.value is not None
    assert result.pessimistic.npv.value < result.expected.npv.value  # type: ignore[operator]


def test_losses_that_were_not_seen_are_not_ruled_out() -> None:
    """A plain bootstrap would draw no loss at all."""
    plan = make_settings(plant={"cost_of_escape": 5_000})
    few, many = (economics(plan, make_outcome(frames, frames)).pays.value for frames in (10, 3_000))

    assert few is not None
    assert many is not None
    assert 0.3 < few < 0.9 < many


def test_draws_follow_jeffreys_posterior_of_the_pairs() -> None:
    draws = measure(make_outcome(200, 200, lost=6, gained=2)).draws.recall_loss
    a, b, total = 6.5, 2.5, 201.5
    mean = (a - b) / total
    variance = ((a + b) / total - mean**2) / (total + 1)

    assert np.mean(draws) == pytest.approx(mean, abs=4 * math.sqrt(variance / 5000))
    assert np.std(draws) == pytest.approx(math.sqrt(variance), rel=0.06)


def test_frames_that_resemble_each_other_count_less() -> None:
    outcome = make_outcome(100, 100, lost=10)
    alone, grouped = (
        measure(outcome),
        measure(make_outcome(100, 100, lost=10, groups=(np.arange(200) // 10).astype(str))),
    )

    assert grouped.groups == 20
    assert np.std(grouped.draws.recall_loss) > 2 * np.std(alone.draws.recall_loss)
    assert grouped.defective.change.high > alone.defective.change.high


@pytest.mark.parametrize("names", [np.arange(100).astype(str), np.full(100, ""), np.full(100, "the only lot")])
def test_groups_that_tell_nothing_apart_change_nothing(names: np.ndarray) -> None:
    plain, named = (measure(make_outcome(50, 50, lost=3, groups=groups)) for groups in (None, names))

    assert named.groups is None
    assert named.defective == plain.defective
    np.testing.assert_array_equal(named.draws.recall_loss, plain.draws.recall_loss)


def test_intervals_that_are_shown_elsewhere_are_those_of_the_pessimistic_case() -> None:
    shown = replace(make_outcome(lost=2), recall_loss=Estimate(0.02, -0.01, 0.09))

    result = economics(make_settings(), shown)

    assert result.pessimistic.recall_loss.value == 0.09
    assert next(s for s in result.tornado if s.name == "recall_loss").high == 0.09
    assert result.expected.recall_loss.value == pytest.approx(0.02)


def test_the_widest_swing_comes_first_and_its_ends_are_recomputed() -> None:
    plan, outcome = make_settings(), make_outcome(lost=4, added=2)
    result = economics(plan, outcome)

    widths = [swing.width for swing in result.tornado]
    escape = next(swing for swing in result.tornado if swing.name == "cost_of_escape")

    assert widths == sorted(widths, reverse=True)
    assert (escape.low, escape.high) == (1, 100_000)
    dear = economics(plan.varied("cost_of_escape", 100_000), outcome).expected.npv.value
    assert escape.npv_high == pytest.approx(dear)
    assert {swing.name for swing in result.tornado if swing.measured} == {
        "recall_loss",
        "false_alarm_rise",
        "coded_bytes",
    }


def test_the_stages_add_up_to_the_plan() -> None:
    result = economics(make_settings(), make_outcome(lost=2))

    assert [(s.first_month, s.last_month) for s in result.stages] == [(1, 1), (2, 2), (3, 12)]
    assert sum(s.adds.value for s in result.stages) == pytest.approx(result.expected.cumulative[-1])  # type: ignore[misc]
    assert result.stages[-1].cumulative.value == pytest.approx(result.expected.cumulative[-1])
    assert result.stages[0].adds.value == -1000


@pytest.mark.parametrize(
    ("defective", "good", "reason"), [(0, 50, "no_defective"), (50, 0, "no_good"), (0, 1, "no_defective")]
)
def test_without_frames_of_a_class_there_is_a_reason_and_no_nan(defective: int, good: int, reason: str) -> None:
    result = economics(make_settings(), make_outcome(defective, good))

    assert result.expected.npv.value is None
    assert result.pays.reason == result.expected.npv.reason == reason
    assert result.tornado == ()
    assert result.before.sent == pytest.approx(100e9)
    assert "NaN" not in json.dumps(summary(result))


def test_no_frames_at_all_are_an_error() -> None:
    with pytest.raises(DatasetError, match="no test frames"):
        make_outcome(0, 0)


def test_arrays_of_different_lengths_are_an_error() -> None:
    outcome = make_outcome()
    with pytest.raises(ValueError, match="differ in length"):
        Outcome(outcome.original_bytes[:-1], outcome.coded_bytes, *rest(outcome))


def test_the_same_evidence_gives_the_same_figures() -> None:
    first, second = (summary(economics(example_settings(), make_outcome(lost=1))) for _ in range(2))

    assert first == second
    assert first["example_assumptions"]
    assert first["expected"]["monthly_savings"] == pytest.approx(sum(first["expected"]["components"].values()))


@quick
@given(coded=st.lists(st.integers(0, 1_000_000), min_size=2, max_size=5))
def test_smaller_files_never_pay_less(coded: list[int]) -> None:
    npvs = [_npv(make_settings(), Effect(1e6 - size, 1e6 - size, 0.01, 0.01)) for size in sorted(coded)]

    assert all(more >= less for more, less in pairwise(npvs))


@quick
@given(
    frames=st.integers(1, 10**6),
    rate=st.floats(0, 0.5),
    setup=st.floats(0, 1e6),
    running=st.floats(0, 1e4),
    years=st.integers(1, 10),
)
def test_where_nothing_changes_there_are_only_costs(
    frames: int, rate: float, setup: float, running: float, years: int
) -> None:
    plan = make_settings(
        plant={"frames_per_day": frames},
        finance={"discount_rate": rate, "horizon_years": years},
        stages={**NO_COSTS, "setup": setup, "running_per_month": running},
    )
    result = economics(plan, make_outcome(20, 20, original=1000, coded=1000))

    months = np.arange(12 * years + 1)
    costs = setup * (months < 3) + running * (months > 0)
    assert result.expected.npv.value == pytest.approx(-npf.npv((1 + rate) ** (1 / 12) - 1, costs), abs=1e-6)
    assert result.expected.monthly_savings.value == pytest.approx(-running)
    assert result.expected.payback.value is None


@quick
@given(loss=st.floats(-0.5, 0.5), rise=st.floats(-0.5, 0.5), more=st.floats(0, 0.5))
def test_more_escapes_never_pay_more(loss: float, rise: float, more: float) -> None:
    plan = make_settings()

    assert _npv(plan, Effect(9e5, 9e5, loss + more, rise)) <= _npv(plan, Effect(9e5, 9e5, loss, rise)) + 1e-9


def _npv(plan: RoiSettings, effect: Effect) -> float:
    return float(present_value(cashflow(plan, effect).cash, plan))
