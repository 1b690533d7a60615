"""AUROC, its paired differences and average precision against published examples and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.grouping import group_codes
from evaluation.ranking import auroc, auroc_difference, average_precision, resample
from evaluation.statistics import proportion

OVARIAN = """
3.0 5.8 10 0   3.2 6.3 5 1   3.9 6.8 3 1   2.8 4.8 6 0   3.2 5.8 3 1   0.9 4.0 5 0   2.5 5.7 8 0   1.6 5.6 5 1
3.8 5.7 5 1    3.7 6.7 6 1   3.2 5.4 4 1   3.8 6.6 6 1   4.1 6.6 5 1   3.6 5.7 5 1   4.3 7.0 4 1   3.6 6.7 4 0
2.3 4.4 6 1    4.2 7.6 4 0   4.0 6.6 6 0   3.5 5.8 6 1   3.8 6.8 7 1   3.0 4.7 8 0   4.5 7.4 5 1   3.7 7.4 5 1
3.1 6.6 6 1    4.1 8.2 6 1   4.3 7.0 5 1   4.3 6.5 4 1   3.2 5.1 5 1   2.6 4.7 6 1   3.3 6.8 6 0   1.7 4.0 7 0
3.7 6.1 5 1    3.3 6.3 7 1   4.2 7.7 6 1   3.5 6.2 5 1   2.9 5.7 9 0   2.1 4.8 7 1   2.8 6.2 8 0   4.0 7.0 7 1
3.3 5.7 6 1    3.7 6.9 5 1   3.6 6.6 5 1
"""
"""Albumin, total protein, K-G score and outcome of 43 patients of DeLong et al. (1988), as in the SAS/STAT
manual, LOGISTIC, "Comparing Receiver Operating Characteristic Curves", whose figures are asserted below."""


def ovarian() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    albumin, protein, score, outcome = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    return albumin, protein, -score, outcome == 1


def test_areas_of_delongs_three_tests() -> None:
    albumin, protein, score, outcome = ovarian()

    areas = [auroc(test, outcome).value for test in (albumin, score, protein)]

    assert areas == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)


def test_differences_of_delongs_three_tests() -> None:
    albumin, protein, score, outcome = ovarian()

    assert auroc_difference(albumin, score, outcome) == pytest.approx((0.0108, -0.1761, 0.1976), abs=5e-5)
    assert auroc_difference(protein, score, outcome) == pytest.approx((-0.0780, -0.2830, 0.1271), abs=5e-5)


def _hanley_mcneil() -> tuple[list[int], list[bool]]:
    """CT ratings 1 to 5 of 58 normal and 51 abnormal patients (Hanley and McNeil, Radiology 143 (1982) 29)."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    scores = [r for counts in (normal, abnormal) for r, n in enumerate(counts, 1) for _ in range(n)]
    return scores, [False] * sum(normal) + [True] * sum(abnormal)


def test_auroc_limits_lie_on_the_logit_scale() -> None:
    estimate = auroc(*_hanley_mcneil())

    half = 1.959964 * 0.030724 / (0.893171 * (1 - 0.893171))  # Stata's roctab: 0.8932, standard error 0.0307
    logits = [math.log(v / (1 - v)) for v in estimate]
    assert logits[1] == pytest.approx(logits[0] - half, abs=1e-3)
    assert logits[2] == pytest.approx(logits[0] + half, abs=1e-3)


def test_perfect_separation_is_not_taken_for_certainty() -> None:
    estimate = auroc([0, 1, 2, 10, 11, 12], [0, 0, 0, 1, 1, 1])

    assert estimate.value == estimate.high == 1.0
    assert estimate.low == pytest.approx(proportion(3, 3).low)


def test_a_class_that_is_missing_leaves_nothing_to_rank() -> None:
    drawn = resample([True, True])

    for estimate in (auroc([1, 2], [1, 1]), auroc_difference([1, 2], [2, 1], [1, 1])):
        assert all(math.isnan(v) for v in estimate)
    assert all(math.isnan(v) for v in average_precision([1, 2], [1, 1], drawn))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40), st.integers(0, 99))
def test_areas_are_scikit_learns_with_ties_too(pairs: list[tuple[int, bool]], seed: int) -> None:
    scores, labels = (np.array(v) for v in zip(*[*pairs, (3, True), (2, False)], strict=True))
    if seed % 2:
        scores = scores + np.random.default_rng(seed).normal(0, 1, len(scores))

    assert auroc(scores, labels).value == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(scores, labels, resample(labels, repeats=20)).value == pytest.approx(
        average_precision_score(labels, scores)
    )


def test_the_bootstrap_draws_as_many_frames_of_each_class_as_there_are() -> None:
    labels = np.arange(50) < 12

    drawn = resample(labels)

    assert (drawn[labels].sum(axis=0) == 12).all()
    assert (drawn[~labels].sum(axis=0) == 38).all()


def test_the_bootstrap_draws_groups_whole() -> None:
    labels = np.arange(60) % 5 == 0
    codes = group_codes([f"lot-{n // 6}" for n in range(60)])

    drawn = resample(labels, codes)

    assert (drawn.reshape(10, 6, -1) == drawn[::6][:, None]).all()


@pytest.mark.parametrize(("frames", "defective", "apart"), [(60, 18, 1.5), (200, 40, 2.0), (100, 50, 3.0)])
def test_the_interval_of_average_precision_covers_the_truth(frames: int, defective: int, apart: float) -> None:
    rng = np.random.default_rng(1)
    many = np.arange(200_000) < 200_000 * defective / frames
    truth = average_precision_score(many, rng.normal(0, 1, len(many)) + apart * many)
    labels = np.arange(frames) < defective
    drawn = resample(labels, repeats=200)

    found = [average_precision(rng.normal(0, 1, frames) + apart * labels, labels, drawn) for _ in range(300)]

    assert np.mean([e.low <= truth <= e.high for e in found]) > 0.91


def test_only_the_grouped_interval_of_auroc_covers_where_groups_are_alike() -> None:
    rng = np.random.default_rng(2)
    labels = np.tile(np.arange(20) < 8, 15)
    codes = group_codes([f"lot-{n // 20}" for n in range(300)])
    truth = 0.8556  # P(N(1.5, 2) > 0)
    covered = {"frames": 0, "groups": 0}
    for _ in range(300):
        lots = rng.normal(0, math.sqrt(0.5), (2, 15)).repeat(20, axis=1)
        scores = np.where(labels, 1.5 + lots[0], lots[1]) + rng.normal(0, math.sqrt(0.5), 300)
        for name, taken in (("frames", None), ("groups", codes)):
            estimate = auroc(scores, labels, codes=taken)
            covered[name] += estimate.low <= truth <= estimate.high

    assert covered["groups"] / 300 > 0.91
    assert covered["frames"] / 300 < 0.75
