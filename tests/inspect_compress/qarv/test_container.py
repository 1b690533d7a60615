"""The `.qarv` container: what goes in comes out, its cost is small, and no damage passes unseen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.errors import DamagedFileError, FormatError, UnknownVersionError
from inspect_compress.qarv.container import FIXED_BYTES, LEAST_BYTES, Container, Level
from inspect_compress.qarv.strides import STRIDES

words = st.binary(max_size=40).map(lambda data: data[: len(data) // 4 * 4])
crc = st.integers(0, 2**32 - 1)


@st.composite
def containers(draw: st.DrawFn) -> Container:
    channels = draw(st.sampled_from((1, 3)))
    return Container(
        width=draw(st.integers(1, 8192)),
        height=draw(st.integers(1, 8192)),
        channels=channels,
        bit_depth=8,
        model=draw(st.binary(min_size=8, max_size=8)).hex(),
        lmbda_index=draw(st.integers(0, 255)),
        levels=tuple(Level(stride, draw(words), draw(crc)) for stride in STRIDES),
        halved=channels == 3 and draw(st.booleans()),
    )


@given(containers())
def test_what_is_written_is_read(container: Container) -> None:
    assert Container.from_bytes(container.to_bytes()) == container


def test_the_header_costs_at_most_24_bytes_and_8_per_level() -> None:
    assert FIXED_BYTES <= 24
    assert 8 * len(STRIDES) >= LEAST_BYTES - FIXED_BYTES


@given(containers(), st.data())
def test_a_file_cut_anywhere_is_refused(container: Container, data: st.DataObject) -> None:
    whole = container.to_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(FormatError):
        Container.from_bytes(cut)


@given(containers(), st.data())
def test_a_single_changed_byte_anywhere_is_refused(container: Container, data: st.DataObject) -> None:
    changed = bytearray(container.to_bytes())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        Container.from_bytes(bytes(changed))


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Container.from_bytes(data)


def test_a_newer_version_is_told_from_damage() -> None:
    data = bytearray(Container(1, 1, 1, 8, "00" * 8, 0, tuple(Level(s, b"", 0) for s in STRIDES)).to_bytes())
    data[3] = 2
    with pytest.raises(UnknownVersionError, match="version 2"):
        Container.from_bytes(bytes(data))


def test_bytes_after_the_end_are_damage() -> None:
    whole = Container(9, 9, 3, 8, "ab" * 8, 7, tuple(Level(s, b"1234", 5) for s in STRIDES)).to_bytes()
    with pytest.raises(DamagedFileError, match="header says"):
        Container.from_bytes(whole + b"\0")


def test_vector() -> None:
    """These bytes are format version 1 and must never change; docs/format.md walks through them."""
    levels = (Level(32, bytes.fromhex("01020304"), 0x11223344), Level(16, b"", 0), Level(8, b"\xff" * 8, 0xAABBCCDD))
    container = Container(300, 200, 1, 8, "0123456789abcdef", 152, levels)
    assert container.to_bytes().hex() == (
        "51525601" "2b01" "c700" "0e" "0123456789abcdef" "98"
        "04000000" "44332211" "00000000" "00000000" "08000000" "ddccbbaa"
        "01020304" "ffffffffffffffff" "ff8911bc"
    )  # fmt: skip
