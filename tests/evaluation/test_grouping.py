"""Design effects on groups whose likeness is known."""

import math

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from evaluation.grouping import design_of, group_codes
from evaluation.statistics import INDEPENDENT, Design


def lots(groups: int, size: int) -> np.ndarray:
    codes = group_codes([f"lot-{place // size}" for place in range(groups * size)])
    assert codes is not None
    return codes


def test_frames_without_a_group_stand_by_themselves() -> None:
    codes = group_codes(["a", "", "a", "", "b"])

    assert codes is not None
    assert len(set(codes.tolist())) == 4
    assert codes[0] == codes[2]


@pytest.mark.parametrize("groups", [["", "", ""], ["a", "b", "c"], ["a", "a", "a"], []])
def test_where_nothing_tells_groups_apart_frames_count_as_independent(groups: list[str]) -> None:
    assert group_codes(groups) is None
    assert design_of(np.ones(len(groups)), None) == INDEPENDENT


def test_groups_of_equal_frames_tell_as_much_as_one_frame_each() -> None:
    outcome = np.repeat([1, 0, 1, 1, 0, 1, 0, 1, 1, 0], 8)

    assert design_of(outcome, lots(10, 8)) == Design(pytest.approx(8 * 10 / 9), 10)


def test_frames_that_are_alike_by_chance_only_keep_their_number() -> None:
    outcomes = np.random.default_rng(0).random((200, 600)) < 0.3

    effects = [design_of(outcome, lots(60, 10)).effect for outcome in outcomes]

    assert np.mean(effects) == pytest.approx(1.08, abs=0.06)  # one, and what never falling below one adds


def test_mixed_outcomes_within_every_group_do_not_make_frames_count_for_more() -> None:
    assert design_of(np.tile([0, 1], 40), lots(10, 8)).effect == 1.0


def test_with_no_event_at_all_the_scores_say_how_alike_groups_are() -> None:
    """As for events of 5 % that are cut from normal variables of the scores' correlation, here one half."""
    rng = np.random.default_rng(1)
    scores = math.sqrt(0.5) * rng.normal(size=400).repeat(5) + math.sqrt(0.5) * rng.normal(size=2000)
    none, codes = np.zeros(2000), lots(400, 5)

    alike, unlike = (design_of(none, codes, [values]).effect for values in (scores, rng.normal(size=2000)))

    both = multivariate_normal.cdf([ndtri(0.05)] * 2, cov=[[1, 0.5], [0.5, 1]])
    assert alike == pytest.approx(1 + 4 * (both - 0.05**2) / (0.05 * 0.95), abs=0.15)
    assert 1.0 <= unlike < 1.1
    assert design_of(none, codes).effect == 1.0


def test_a_class_that_lies_in_one_group_tells_as_much_as_one_frame() -> None:
    codes = lots(10, 8)

    design = design_of(np.ones(8), codes[:8])

    assert 8 * design.weight(0.95) < 1.0
