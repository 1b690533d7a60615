"""Entropy coding: every symbol comes back, whatever its table thinks of it, and the bytes never change."""

import contextlib

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save

from inspect_compress.errors import ConfigError, OutOfStepError
from inspect_compress.qarv.compiled_coder import CompiledCoder
from inspect_compress.qarv.entropy import LevelReader, LevelWriter, Models
from inspect_compress.qarv.kernels import all_kernels
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.range_coder import SYMBOL_LIMIT, Coder, ConstrictionCoder, Tables, decoder_of, stream_of
from inspect_compress.qarv.tables import TOTAL, gaussian_tables, radius
from inspect_compress.qarv.weights import default_fingerprint, weight_file, weights_from

KERNELS = [kernels for kernels in all_kernels().values() if kernels.usable]


def coders(tables: Tables) -> list[Coder]:
    """All there are here: constriction's first."""
    return [ConstrictionCoder(tables), *(CompiledCoder(tables, kernels) for kernels in KERNELS)]


CODERS = coders(gaussian_tables())
each_coder = pytest.mark.parametrize("models", [Models(gaussian_tables(), coder) for coder in CODERS])

symbol = st.one_of(st.integers(-3, 3), st.integers(-300, 300), st.integers(-SYMBOL_LIMIT, SYMBOL_LIMIT))
batch = st.lists(st.tuples(symbol, st.integers(0, SCALE_STEPS - 1)), max_size=60)


@each_coder
@settings(deadline=None)
@given(st.lists(batch, min_size=1, max_size=5))
def test_symbols_come_back(models: Models, batches: list[list[tuple[int, int]]]) -> None:
    arrays = [np.array(b, np.int64).reshape(-1, 2) for b in batches]
    writer = LevelWriter(models, seed=7)
    for pairs in arrays:
        writer.put(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.uint8))
    reader = LevelReader(models, writer.finish(), seed=7)
    for pairs in arrays:
        np.testing.assert_array_equal(reader.get(pairs[:, 1].astype(np.uint8)), pairs[:, 0])
    assert reader.crc == writer.crc


@each_coder
@settings(deadline=None)
@given(st.lists(batch, min_size=1, max_size=5))
def test_what_symbols_cost_is_what_their_stream_takes(models: Models, batches: list[list[tuple[int, int]]]) -> None:
    writer, bits = LevelWriter(models), 0.0
    for pairs in batches:
        array = np.array(pairs, np.int64).reshape(-1, 2)
        symbols, rows = array[:, 0].astype(np.int32), array[:, 1].astype(np.uint8)
        writer.put(symbols, rows)
        bits += models.bits_of_each(symbols, rows).sum()
        assert models.bits(symbols, rows) == pytest.approx(models.bits_of_each(symbols, rows).sum(), rel=1e-5)
    assert -4 <= len(writer.finish()) - bits / 8 <= 2


@each_coder
@settings(deadline=None)
@given(st.binary(max_size=80), st.lists(st.integers(0, SCALE_STEPS - 1), min_size=1, max_size=200))
def test_any_bytes_end_in_symbols_or_in_an_error(models: Models, data: bytes, rows: list[int]) -> None:
    reader = LevelReader(models, data)
    with contextlib.suppress(OutOfStepError):
        assert len(reader.get(np.array(rows, np.uint8))) == len(rows)


def model(*weights: int) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(np.array(weights) / sum(weights), perfect=False, lazy=False)


MIDDLE, EDGE = model(1, 2, 1), model(1, 4, 11)


@settings(deadline=None)
@given(st.integers(0, 150), st.lists(st.tuples(st.sampled_from([MIDDLE, EDGE]), st.integers(0, 2)), max_size=8))
def test_streams_are_the_shortest_that_can_be_read(middles: int, rest: list) -> None:
    """Also where the coder's interval lies across a carry, which the middle of three symbols leads to."""
    coded = [(MIDDLE, 1)] * middles + rest
    encoder = constriction.stream.queue.RangeEncoder()
    for table, symbol in coded:
        encoder.encode(symbol, table)
    stream = stream_of(encoder)

    def reads(data: bytes) -> bool:
        decoder = decoder_of(data)
        try:
            return all(int(decoder.decode(table)) == symbol for table, symbol in coded)
        except AssertionError:  # constriction's word for bytes that no symbols become
            return False

    assert reads(stream)
    assert not stream.endswith(b"\0")
    assert not any(reads(stream[:-2] + bytes([last])) for last in range(256 if len(stream) > 1 else 0))


@pytest.mark.parametrize("row", range(0, SCALE_STEPS, 9))
def test_tables_are_whole(row: int) -> None:
    table = gaussian_tables()[row]
    assert len(table) == 2 * radius(row) + 2
    assert table.min() >= 1
    assert table.sum() == TOTAL


@each_coder
def test_cost_is_near_the_entropy(models: Models) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(20, 40, 20_000, dtype=np.uint8)
    scale = 0.1 * (800 / 0.1) ** (rows / 63)
    symbols = np.rint(rng.normal(0, scale)).astype(np.int32)
    writer = LevelWriter(models)
    writer.put(symbols, rows)
    ideal = sum(-np.log2(gaussian_tables()[r][symbols[rows == r] + radius(r)] / TOTAL).sum() for r in range(20, 40))
    assert 8 * len(writer.finish()) < 1.001 * ideal + 64


@pytest.mark.parametrize("change", ["another sum", "a negative number", "another length"])
def test_weight_files_whose_tables_are_no_probabilities_are_refused(change: str) -> None:
    path = weight_file(default_fingerprint())
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tables = tensors["tables"]
    if change == "another sum":
        tables[100] += 1
    elif change == "a negative number":
        tables[100], tables[101] = -1, tables[101] + tables[100] + 1
    else:
        tensors["tables"] = torch.cat([tables, tables[-1:] * 0])

    with pytest.raises(ConfigError, match="its tables are no probabilities"):
        weights_from(save(tensors, metadata), "changed")


@settings(deadline=None)
@given(st.lists(batch, min_size=1, max_size=5), st.integers(0, 200))
def test_all_coders_make_the_same_stream(batches: list[list[tuple[int, int]]], zeros: int) -> None:
    arrays = [np.array(b, np.int64).reshape(-1, 2) for b in [[(0, 0)] * zeros, *batches]]
    streams = []
    for coder in CODERS:
        encoder = coder.encoder()
        for pairs in arrays:
            encoder.put(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.uint8))
        streams.append(encoder.finish())
    assert streams == [streams[0]] * len(CODERS)


def test_all_coders_make_the_same_stream_of_many_symbols() -> None:
    """So many that carries run through several words, and that every entry of narrow tables occurs."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, SCALE_STEPS, 300_000, dtype=np.uint8)
    scale = 0.1 * (800 / 0.1) ** (rows / 63)
    symbols = np.rint(rng.standard_t(2, len(rows)) * scale).clip(-SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int32)
    streams = []
    for coder in CODERS:
        encoder = coder.encoder()
        encoder.put(symbols, rows)
        streams.append(encoder.finish())
        np.testing.assert_array_equal(coder.decoder(streams[-1]).get(rows), symbols)
    assert streams == [streams[0]] * len(CODERS)


@settings(deadline=None)
@given(st.binary(max_size=80), st.lists(st.integers(0, SCALE_STEPS - 1), min_size=1, max_size=200))
def test_all_coders_read_the_same_from_any_bytes(data: bytes, rows: list[int]) -> None:
    read = []
    for coder in CODERS:
        try:
            read.append(coder.decoder(data).get(np.array(rows, np.uint8)).tolist())
        except OutOfStepError:
            read.append("out of step")
    assert read == [read[0]] * len(CODERS)


@pytest.mark.parametrize("number", range(len(CODERS)))
def test_vector(number: int) -> None:
    """These bytes are those of a level and must never change."""
    tables = []
    for row in range(SCALE_STEPS):
        counts = radius(row) + 1 - np.abs(np.arange(-radius(row), radius(row) + 1))
        frequencies = counts * (TOTAL // (counts.sum() + 1))
        tables.append(np.append(frequencies, TOTAL - frequencies.sum()).astype(np.int32))
    symbols = np.array([0, 1, -1, 5, -17, 40, 0, 0, 3, -1000, 123456], np.int32)
    rows = np.array([0, 0, 0, 3, 3, 20, 20, 63, 63, 0, 1], np.uint8)
    writer = LevelWriter(Models(tables, coders(tables)[number]))
    writer.put(symbols, rows)
    assert (writer.crc, writer.finish().hex()) == VECTOR


VECTOR = (2738263270, "8053589ef10291e0962c7b2b027b682ec7a490eb21fd21")
