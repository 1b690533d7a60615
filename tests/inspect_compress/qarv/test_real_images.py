"""What the shipped weights hold on real images that training never saw."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from inspect_compress.fidelity import psnr
from inspect_compress.images import Image, read_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.network import LMBDA_STEPS
from pipelines.datasets import read_dataset

DATA = Path(os.environ.get("INSPECT_COMPRESS_DATA", Path(__file__).parents[3] / "../shared/data"))
CODEC = QarvCodec()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent; set INSPECT_COMPRESS_DATA to its folder"),
]


def solar_cells(count: int) -> list[Image]:
    items = [item for item in read_dataset(DATA / "elpv").items if item.split == "test"]
    return [read_image(item.image) for item in items[:: len(items) // count][:count]]


@pytest.fixture(scope="module")
def sweep() -> tuple[list[int], list[float]]:
    """Bytes and mean PSNR of some cells at every index of λ."""
    cells = solar_cells(4)
    rates, fidelity = [], []
    for index in range(LMBDA_STEPS):
        coded = [CODEC.encode_at(cell, index) for cell in cells]
        rates.append(sum(len(one.data) for one in coded))
        decibels = [psnr(cell, one.reconstruction) for cell, one in zip(cells, coded, strict=True)]
        fidelity.append(float(np.mean(decibels)))
    return rates, fidelity


def test_rate_rises_at_every_step_of_lambda_and_never_jumps(sweep: tuple[list[int], list[float]]) -> None:
    rates, _ = sweep
    assert _rises(rates)
    assert max(after / before for before, after in pairwise(rates)) < 1.04


def test_the_top_of_the_range_is_above_52_db(sweep: tuple[list[int], list[float]]) -> None:
    assert sweep[1][-1] > 52


def test_the_bottom_of_the_range_is_34_db(sweep: tuple[list[int], list[float]]) -> None:
    assert sweep[1][0] < 34.5


def test_psnr_rises_at_every_step_of_lambda(sweep: tuple[list[int], list[float]]) -> None:
    assert _rises(sweep[1])


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_photographs_never_take_much_more_than_their_png(quality: int) -> None:
    for path in sorted((DATA / "kodak").rglob("*.png"))[::6]:
        assert len(CODEC.encode(read_image(path), quality=quality)) < 1.3 * path.stat().st_size, path.name


def _rises(values: Sequence[float]) -> bool:
    return all(before < after for before, after in pairwise(values))
