"""Entropy coding: every symbol comes back, whatever its table thinks of it, and the bytes never change."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspect_compress.errors import OutOfStepError
from inspect_compress.qarv.entropy import SYMBOL_LIMIT, LevelReader, LevelWriter, Models
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.tables import TOTAL, gaussian_tables, radius

MODELS = Models(gaussian_tables())

symbol = st.one_of(st.integers(-3, 3), st.integers(-300, 300), st.integers(-SYMBOL_LIMIT, SYMBOL_LIMIT))
batch = st.lists(st.tuples(symbol, st.integers(0, SCALE_STEPS - 1)), max_size=60)


@settings(deadline=None)
@given(st.lists(batch, min_size=1, max_size=5))
def test_symbols_come_back(batches: list[list[tuple[int, int]]]) -> None:
    arrays = [np.array(b, np.int64).reshape(-1, 2) for b in batches]
    writer = LevelWriter(MODELS)
    for pairs in arrays:
        writer.put(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.uint8))
    reader = LevelReader(MODELS, writer.finish())
    for pairs in arrays:
        np.testing.assert_array_equal(reader.get(pairs[:, 1].astype(np.uint8)), pairs[:, 0])
    assert reader.crc == writer.crc


@settings(deadline=None)
@given(st.binary(max_size=80), st.lists(st.integers(0, SCALE_STEPS - 1), min_size=1, max_size=200))
def test_any_bytes_end_in_symbols_or_in_an_error(data: bytes, rows: list[int]) -> None:
    reader = LevelReader(MODELS, data[: len(data) // 4 * 4])
    with contextlib.suppress(OutOfStepError):
        assert len(reader.get(np.array(rows, np.uint8))) == len(rows)


@pytest.mark.parametrize("row", range(0, SCALE_STEPS, 9))
def test_tables_are_whole(row: int) -> None:
    table = gaussian_tables()[row]
    assert len(table) == 2 * radius(row) + 2
    assert table.min() >= 1
    assert table.sum() == TOTAL


def test_cost_is_near_the_entropy() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(20, 40, 20_000, dtype=np.uint8)
    scale = 0.1 * (800 / 0.1) ** (rows / 63)
    symbols = np.rint(rng.normal(0, scale)).astype(np.int32)
    writer = LevelWriter(MODELS)
    writer.put(symbols, rows)
    ideal = sum(-np.log2(gaussian_tables()[r][symbols[rows == r] + radius(r)] / TOTAL).sum() for r in range(20, 40))
    assert 8 * len(writer.finish()) < 1.001 * ideal + 64


def test_vector() -> None:
    """These bytes are format version 1 and must never change."""
    tables = []
    for row in range(SCALE_STEPS):
        counts = radius(row) + 1 - np.abs(np.arange(-radius(row), radius(row) + 1))
        frequencies = counts * (TOTAL // (counts.sum() + 1))
        tables.append(np.append(frequencies, TOTAL - frequencies.sum()).astype(np.int32))
    symbols = np.array([0, 1, -1, 5, -17, 40, 0, 0, 3, -1000, 123456], np.int32)
    rows = np.array([0, 0, 0, 3, 3, 20, 20, 63, 63, 0, 1], np.uint8)
    writer = LevelWriter(Models(tables))
    writer.put(symbols, rows)
    assert (writer.crc, writer.finish().hex()) == VECTOR


VECTOR = (2738263270, "9e585380e09102f12b7b2c962e687b02eb90a4c70021fd21")
