"""Intervals against published worked examples, and what they do at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import Design, non_inferiority, paired_difference, pairs_needed, proportion


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_in_newcombe_1998_table_1(successes: int, total: int, low: float, high: float) -> None:
    estimate = proportion(successes, total)

    assert estimate.value == pytest.approx(successes / total)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_at_one_where_all_succeed() -> None:
    assert proportion(20, 20).high == 1.0


def test_nothing_observed_is_nan_and_not_a_guess() -> None:
    assert all(math.isnan(v) for v in (*proportion(0, 0), *paired_difference(0, 0, 0), non_inferiority(0, 0, 0, 0.1)))


@pytest.mark.parametrize(
    ("lost", "gained", "pairs", "value", "low", "high"),
    [
        pytest.param(1, 7, 21, -0.286, -0.517, -0.026, id="airway-fagerland-2014"),
        pytest.param(6, 16, 161, -0.0621, -0.1240, -0.0054, id="consolidation-fagerland-2014"),
    ],
)
def test_tango_as_published(lost: int, gained: int, pairs: int, value: float, low: float, high: float) -> None:
    assert paired_difference(lost, gained, pairs) == pytest.approx((value, low, high), abs=5e-4)


def test_tangos_own_example_of_two_lens_disinfectants() -> None:
    """44 pairs, of which one was better with the standard: Tango 1998, section 5; 90 % limits, and Z = 1.709."""
    assert paired_difference(1, 0, 44, 0.90) == pytest.approx((0.0227, -0.0365, 0.0957), abs=5e-5)
    assert non_inferiority(1, 0, 44, 0.1) == pytest.approx(0.0438, abs=5e-5)


def test_without_a_margin_tangos_test_is_mcnemars() -> None:
    """Airway data (Fagerland 2014): Z = (1 - 7) / sqrt(8), one-sided."""
    assert non_inferiority(1, 7, 21, 0.0) == pytest.approx(0.5 * math.erfc(6 / math.sqrt(8) / math.sqrt(2)))


@given(
    lost=st.integers(0, 20),
    gained=st.integers(0, 20),
    rest=st.integers(1, 200),
    margin=st.floats(0.01, 0.5),
    alpha=st.floats(0.005, 0.2),
    design=st.sampled_from([Design(), Design(2.5, 12)]),
)
def test_the_test_and_the_interval_never_disagree(
    lost: int, gained: int, rest: int, margin: float, alpha: float, design: Design
) -> None:
    pairs = lost + gained + rest

    p_value = non_inferiority(lost, gained, pairs, margin, design)
    limit = paired_difference(lost, gained, pairs, 1 - 2 * alpha, design).high

    if abs(p_value - alpha) > 1e-6:
        assert (p_value < alpha) == (limit < margin)


def test_a_design_effect_counts_frames_as_that_many_fewer() -> None:
    assert proportion(40, 80, design=Design(4.0))[1:] == pytest.approx(proportion(10, 20)[1:])
    assert paired_difference(8, 4, 80, design=Design(4.0)) == pytest.approx(paired_difference(2, 1, 20))


def test_few_groups_widen_an_interval_as_students_t_does() -> None:
    """With 5 groups the quantile is 2.776 in place of 1.960: half-widths grow by that ratio (Wald's limit)."""
    wide, narrow = (proportion(5000, 10000, design=d) for d in (Design(1.0, 5), Design(1.0)))

    assert (wide.high - wide.value) / (narrow.high - narrow.value) == pytest.approx(2.776 / 1.960, rel=1e-3)


def test_groups_ask_for_more_pairs() -> None:
    needed = pairs_needed(0, 0, 30, margin=0.05, design=Design(2.0, 10))

    assert needed is not None
    assert 2 * 73 <= needed < 2.5 * 73


def test_tango_without_discordant_pairs_is_still_an_interval() -> None:
    """With none lost and none gained the limits solve n d^2 / (d (1 - d)) = z^2, i.e. d = z^2 / (n + z^2)."""
    estimate = paired_difference(0, 0, 73)

    assert estimate.value == 0
    assert estimate.high == pytest.approx(3.8415 / (73 + 3.8415), abs=1e-5)
    assert estimate.low == pytest.approx(-estimate.high)


def test_tango_when_every_pair_is_lost() -> None:
    estimate = paired_difference(10, 0, 10)

    assert estimate.value == estimate.high == 1.0
    assert 0 < estimate.low < 1


def test_tango_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    lost, gained, pairs, runs = 0.08, 0.03, 60, 2000
    draws = rng.multinomial(pairs, [lost, gained, 1 - lost - gained], runs)

    intervals = {(b, c): paired_difference(b, c, pairs) for b, c in {(int(d[0]), int(d[1])) for d in draws}}
    covered = [intervals[b, c].low <= lost - gained <= intervals[b, c].high for b, c, _ in draws]

    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_pairs_needed_is_the_smallest_number_that_shows_it() -> None:
    needed = pairs_needed(0, 0, 30, margin=0.05)

    assert needed == 73
    assert paired_difference(0, 0, 73).high < 0.05 <= paired_difference(0, 0, 72).high


def test_no_number_of_pairs_shows_a_loss_that_is_too_large_already() -> None:
    assert pairs_needed(3, 0, 40, margin=0.05) is None
