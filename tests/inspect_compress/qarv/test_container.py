"""The `.qarv` container: what goes in comes out, its cost is small, and no damage passes unseen."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.errors import CutShortError, DamagedFileError, FormatError, UnknownVersionError
from inspect_compress.qarv.container import Header, Level, write_container
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.strides import STRIDES

streams = st.one_of(st.binary(max_size=40), st.binary(min_size=120, max_size=140))
EMPTY = [Level(stride, b"", 0) for stride in STRIDES]


@st.composite
def headers(draw: st.DrawFn) -> Header:
    channels = draw(st.sampled_from((1, 3)))
    return Header(
        width=draw(st.integers(1, 8192)),
        height=draw(st.integers(1, 8192)),
        channels=channels,
        bit_depth=8,
        model=draw(st.binary(min_size=4, max_size=4)).hex(),
        lmbda_index=draw(st.integers(0, 255)),
        halved=channels == 3 and draw(st.booleans()),
        lmbda_map=draw(streams),
    )


levels = st.tuples(*(st.builds(Level, st.just(stride), streams, st.integers(0, 2**16 - 1)) for stride in STRIDES))


@given(headers(), levels)
def test_what_is_written_is_read(header: Header, levels: tuple[Level, ...]) -> None:
    container = read_container(write_container(header, levels))
    assert (container.version, container.header, container.levels) == (2, header, levels)


def test_a_small_frame_pays_18_bytes_and_at_most_4_a_level() -> None:
    empty = write_container(Header(300, 300, 1, 8, "00" * 8, 0), EMPTY)
    assert len(empty) == 18 + 3 * len(STRIDES)
    full = [Level(stride, bytes(10_000), 0) for stride in STRIDES]
    assert len(write_container(Header(300, 300, 1, 8, "00" * 8, 0), full)) == 18 + (4 + 10_000) * len(STRIDES)


@given(headers(), levels, st.data())
def test_a_file_cut_anywhere_is_refused(header: Header, levels: tuple[Level, ...], data: st.DataObject) -> None:
    whole = write_container(header, levels)
    with pytest.raises(CutShortError):
        read_container(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(headers(), levels, st.data())
def test_a_prefix_gives_the_levels_that_are_whole(
    header: Header, levels: tuple[Level, ...], data: st.DataObject
) -> None:
    whole = write_container(header, levels)
    ends = read_container(whole).ends
    assert ends[-1] == len(whole) - 4
    assert all(len(level.data) + 2 == b - a for level, (a, b) in zip(levels[1:], pairwise(ends), strict=True))
    end = data.draw(st.integers(ends[0], len(whole)))
    prefix = read_container(whole[:end], prefix=True)
    assert prefix.levels == levels[: sum(last <= end for last in ends)]
    assert (prefix.header, prefix.ends) == (header, ends)


@given(headers(), levels, st.data())
def test_a_single_changed_byte_anywhere_is_refused(
    header: Header, levels: tuple[Level, ...], data: st.DataObject
) -> None:
    changed = bytearray(write_container(header, levels))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        read_container(bytes(changed))


@given(st.binary(max_size=200), st.sampled_from((b"", b"QRV", b"QRV\x01", b"QRV\x02")), st.booleans())
def test_foreign_bytes_are_refused(data: bytes, beginning: bytes, prefix: bool) -> None:
    try:
        container = read_container(beginning + data, prefix=prefix)
    except FormatError:
        return
    assert prefix, "foreign bytes were taken for a whole file"
    assert len(container.levels) < len(STRIDES)


def test_a_newer_version_is_told_from_damage() -> None:
    data = bytearray(write_container(Header(1, 1, 1, 8, "00" * 8, 0), EMPTY))
    data[3] = 3
    with pytest.raises(UnknownVersionError, match="version 3"):
        read_container(bytes(data))


def test_bytes_after_the_end_are_damage() -> None:
    whole = write_container(Header(9, 9, 3, 8, "ab" * 8, 7), EMPTY)
    with pytest.raises(DamagedFileError, match="header says"):
        read_container(whole + b"\0")


def test_vector() -> None:
    """These bytes are format version 2 and must never change; docs/format.md walks through them."""
    header = Header(300, 100, 1, 8, "0123456789abcdef", 152, lmbda_map=bytes.fromhex("01c8"))
    levels = [Level(32, bytes.fromhex("010203"), 0x11223344), Level(16, b"", 0), Level(8, b"\xff" * 130, 0xAABBCCDD)]
    whole = write_container(header, levels)
    assert whole.hex() == (
        "51525602" "4e" "01234567" "98" "ab02" "63" "0201c8"
        "03" "00" "8201"
        "0102034433" "0000" + "ff" * 130 + "ddcc" "a7f0d232"
    )  # fmt: skip
    assert header.seed == 1522380836


VERSION_1 = (
    "51525601" "2b01" "c700" "0e" "0123456789abcdef" "98"
    "04000000" "44332211" "00000000" "00000000" "08000000" "ddccbbaa"
    "01020304" "fffffffffeffffff" "47235461"
)  # fmt: skip


def test_vector_of_version_1() -> None:
    """Files of version 1 are read for ever."""
    container = read_container(bytes.fromhex(VERSION_1))
    assert (container.version, container.seed) == (1, 0)
    assert container.header == Header(300, 200, 1, 8, "0123456789abcdef", 152)
    assert container.levels == (
        Level(32, bytes.fromhex("04030201"), 0x11223344),
        Level(16, b"", 0),
        Level(8, bytes.fromhex("fffffffffffffffe"), 0xAABBCCDD),
    )
    assert container.agrees(container.levels[0], 0x11223344)
    assert not container.agrees(container.levels[0], 0x3344)
