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


def test_one_model_covers_35_to_52_db_without_a_step() -> None:
    cells = solar_cells(4)
    rates, fidelity = [], []
    for index in range(LMBDA_STEPS):
        coded = [CODEC.encode_at(cell, index) for cell in cells]
        rates.append(sum(len(one.data) for one in coded))
        fidelity.append(np.mean([psnr(cell, one.reconstruction) for cell, one in zip(cells, coded, strict=True)]))
    assert fidelity[0] < 35.5
    assert fidelity[-1] > 52
    assert _rises(rates)
    assert min(after - before for before, after in pairwise(fidelity)) > -0.1  # rounding's noise, at the low end
    assert max(after / before for before, after in pairwise(rates)) < 1.04


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_photographs_never_take_much_more_than_their_png(quality: int) -> None:
    for path in sorted((DATA / "kodak").rglob("*.png"))[::6]:
        assert len(CODEC.encode(read_image(path), quality=quality)) < 1.3 * path.stat().st_size, path.name


def _rises(values: Sequence[float]) -> bool:
    return all(before < after for before, after in pairwise(values))
