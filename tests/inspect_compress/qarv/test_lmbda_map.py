"""Maps of λ come back, cost few bytes, and never read as something else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspect_compress.errors import DamagedFileError
from inspect_compress.qarv.lmbda_map import LmbdaMap, grid, halved_map, palette_of, read_map, write_map


@st.composite
def maps(draw: st.DrawFn) -> LmbdaMap:
    cells = draw(st.integers(1, 10)), draw(st.integers(1, 10))
    values = draw(st.lists(st.integers(0, 255), min_size=1, max_size=300, unique=False))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.choice(np.array(values, np.uint8), cells)


@settings(deadline=None)
@given(maps())
def test_what_is_written_is_read(indexes: LmbdaMap) -> None:
    index, data = write_map(indexes)
    np.testing.assert_array_equal(read_map(index, data, indexes.shape), indexes)
    if data:
        assert set(palette_of(index, data)) == set(indexes.flat)


def test_cells_are_those_that_hold_a_part_of_the_plane_with_its_margin() -> None:
    assert [grid(height, 300, 0) for height in (1, 32, 33)] == [(1, 10), (1, 10), (2, 10)]
    assert [grid(height, 300, 4) for height in (1, 24, 25)] == [(1, 10), (1, 10), (2, 10)]


def test_all_256_values_at_once() -> None:
    indexes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(read_map(*write_map(indexes), (16, 16)), indexes)


def test_one_value_costs_nothing() -> None:
    assert write_map(np.full((10, 10), 77, np.uint8)) == (77, b"")


def test_a_region_in_a_large_frame_costs_little() -> None:
    """64×64 cells and a disc of 20 cells across: about 80 cells border on the other value."""
    y, x = np.mgrid[:65, :65]
    indexes = np.where((y - 30) ** 2 + (x - 20) ** 2 < 100, 200, 60).astype(np.uint8)
    assert len(write_map(indexes)[1]) < 90


def test_halved_cells_take_the_largest_of_four() -> None:
    indexes = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert halved_map(indexes, (2, 2)).tolist() == [[4, 5], [7, 8]]


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_end_in_a_map_or_in_an_error(data: bytes) -> None:
    try:
        indexes = read_map(3, data, (4, 7))
    except DamagedFileError:
        return
    assert indexes.shape == (4, 7)
    assert set(np.unique(indexes)) <= {3, *data[1 : 1 + data[0]]}


@pytest.mark.parametrize("data", [b"\0", b"\0abc", b"\5abc"])
def test_a_map_without_its_values_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedFileError, match="no values"):
        read_map(3, data, (4, 7))
