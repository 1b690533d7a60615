"""Intervals against published worked examples, and what they do at the edges."""

import math

import numpy as np
import pytest

from evaluation.statistics import _delong, auroc, paired_difference, pairs_needed, proportion


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
    assert all(math.isnan(v) for v in (*proportion(0, 0), *paired_difference(0, 0, 0), *auroc([1, 2], [1, 1])))


@pytest.mark.parametrize(
    ("lost", "gained", "pairs", "value", "low", "high"),
    [
        pytest.param(1, 7, 21, -0.286, -0.517, -0.026, id="airway-fagerland-2014"),
        pytest.param(6, 16, 161, -0.0621, -0.1240, -0.0054, id="consolidation-fagerland-2014"),
    ],
)
def test_tango_as_published(lost: int, gained: int, pairs: int, value: float, low: float, high: float) -> None:
    assert paired_difference(lost, gained, pairs) == pytest.approx((value, low, high), abs=5e-4)


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


def _hanley_mcneil() -> tuple[list[int], list[bool]]:
    """CT ratings 1 to 5 of 58 normal and 51 abnormal patients (Hanley and McNeil, Radiology 143 (1982) 29)."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    scores = [r for counts in (normal, abnormal) for r, n in enumerate(counts, 1) for _ in range(n)]
    return scores, [False] * sum(normal) + [True] * sum(abnormal)


def test_delong_as_in_statas_roctab_example() -> None:
    scores, labels = (np.array(v) for v in _hanley_mcneil())

    area, variance = _delong(scores[labels].astype(float), scores[~labels].astype(float))

    assert area == pytest.approx(0.8932, abs=5e-5)
    assert math.sqrt(variance) == pytest.approx(0.0307, abs=5e-5)


def test_auroc_limits_lie_on_the_logit_scale() -> None:
    estimate = auroc(*_hanley_mcneil())

    half = 1.959964 * 0.030724 / (0.893171 * (1 - 0.893171))
    logits = [math.log(v / (1 - v)) for v in estimate]
    assert logits[1] == pytest.approx(logits[0] - half, abs=1e-3)
    assert logits[2] == pytest.approx(logits[0] + half, abs=1e-3)


def test_perfect_separation_is_not_taken_for_certainty() -> None:
    estimate = auroc([0, 1, 2, 10, 11, 12], [0, 0, 0, 1, 1, 1])

    assert estimate.value == estimate.high == 1.0
    assert estimate.low == pytest.approx(proportion(3, 3).low)
