"""The encoder's rounding: never further than the neighbour towards zero, and worth it."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.rounding import FURTHEST, Rounding
from inspect_compress.qarv.tables import gaussian_tables

ROUNDING = Rounding(gaussian_tables())

steps = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50)


@given(steps, st.integers(0, SCALE_STEPS - 1))
def test_it_is_the_nearest_integer_or_the_next_towards_zero(values: list[float], row: int) -> None:
    exact = torch.tensor(values)[None, :, None]
    rounded = ROUNDING(exact, torch.full(exact.shape, row, dtype=torch.uint8))
    assert torch.equal(rounded, rounded.round())
    assert ((exact - rounded).abs() <= 0.5 + FURTHEST + 1e-4 * exact.abs()).all()
    assert (rounded.abs() <= exact.abs().round()).all()


def test_where_the_prior_is_narrow_the_threshold_is_higher_than_where_it_is_wide() -> None:
    values = torch.linspace(0.5, 1.0, 101)[None, :, None]
    kept = [int(ROUNDING(values, torch.full(values.shape, row, dtype=torch.uint8)).sum()) for row in (5, 10, 25)]
    assert kept == sorted(kept)
    assert kept[0] < kept[2]
    assert kept[2] >= values.numel() - 2


def test_symmetry() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (1, 1000, 1)).astype(np.float32))
    rows = torch.from_numpy(np.random.default_rng(1).integers(0, SCALE_STEPS, values.shape).astype(np.uint8))
    torch.testing.assert_close(ROUNDING(-values, rows), -ROUNDING(values, rows))
