"""The spool: what is written comes back or is known to be damaged, and a dead process's frames are taken over."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.errors import EncryptionError, SpoolError
from pipelines.flow.spool import Spool, token
from pipelines.flow.spool_file import pack, unpack
from pipelines.frame import Frame
from pipelines.governance.encryption import KeyRing

KEYS = KeyRing({"k1": b"1" * 32, "k2": b"2" * 32}, current="k2")
texts = st.text(st.characters(), max_size=12)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    shape = draw(st.sampled_from([(1, 1), (3, 5), (2, 4, 3)]))
    kind = np.uint8 if len(shape) == 3 else draw(st.sampled_from([np.uint8, np.uint16]))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, np.iinfo(kind).max, shape, kind)
    return Frame(
        pixels=pixels,
        frame_id=draw(texts),
        captured_at=draw(st.datetimes(timezones=st.just(UTC))),
        sequence=draw(st.integers(0, 2**63 - 1)),
        line=draw(texts),
        product=draw(texts),
        meta=draw(st.dictionaries(texts, texts, max_size=3)),
    )


@given(frames(), st.sampled_from([None, KEYS]))
def test_a_frame_comes_back_as_it_was(frame: Frame, keys: KeyRing | None) -> None:
    back = unpack(pack(frame, keys), keys)

    assert np.array_equal(back.pixels, frame.pixels)
    assert back.pixels.dtype == frame.pixels.dtype
    assert replace(back, pixels=frame.pixels) == frame


@given(frames(), st.data())
def test_a_changed_or_missing_byte_is_found(frame: Frame, data: st.DataObject) -> None:
    sound = pack(frame)
    position = data.draw(st.integers(0, len(sound) - 1))
    changed = bytearray(sound)
    changed[position] ^= data.draw(st.integers(1, 255))

    for damaged in (bytes(changed), sound[:position], sound + b"\0"):
        with pytest.raises(SpoolError):
            unpack(damaged)


@given(st.binary(max_size=200))
def test_anything_else_is_no_spooled_frame(data: bytes) -> None:
    with pytest.raises(SpoolError):
        unpack(data)


def test_encrypted_samples_need_their_key_and_are_not_in_the_file() -> None:
    frame = a_frame("secret", value=77)

    data = pack(frame, KEYS)

    assert bytes([77]) * 12 not in data
    with pytest.raises(EncryptionError, match="k2"):
        unpack(data)
    with pytest.raises(EncryptionError, match="frame secret"):
        unpack(data, KeyRing({"k2": b"3" * 32}))


def a_frame(name: str, value: int = 1) -> Frame:
    return Frame(np.full((3, 4), value, np.uint8), name, datetime(2026, 1, 2, tzinfo=UTC))


def a_spool(root: Path, owner: str, most_bytes: int = 10**9) -> Spool:
    return Spool(root, owner, most_bytes=most_bytes, free_bytes=0)


def test_ids_from_outside_make_no_paths(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "spool", "a")

    for name in ("../../etc/passwd", "a/b", "", "x" * 5000, "\ud800"):
        assert spool.get(spool.put(a_frame(name))).frame_id == name

    assert sorted(path.name for path in tmp_path.iterdir()) == ["spool"]
    assert len(spool) == 5


def test_what_a_living_process_spooled_is_left_to_it_and_taken_over_when_it_ended(tmp_path: Path) -> None:
    first, second = a_spool(tmp_path, "a"), a_spool(tmp_path, "b")
    names = [first.put(a_frame(str(number))) for number in range(3)]
    first.remove(names[1])

    assert second.take_over() == []
    assert second.alive("a")
    first.close()

    assert not second.alive("a")
    assert second.take_over() == [names[0], names[2]]
    assert [second.get(name).frame_id for name in (names[0], names[2])] == ["0", "2"]


def test_a_damaged_file_is_set_aside_by_name_and_never_deleted(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, "a")
    name = spool.put(a_frame("one"))
    (file,) = (tmp_path / "a").glob("*.frame")
    file.write_bytes(file.read_bytes()[:-5])

    with pytest.raises(SpoolError, match=r"\.damaged: has \d+ bytes, not as many as it says"):
        spool.get(name)

    assert [path.suffix for path in tmp_path.glob("*.damaged")] == [".damaged"]
    assert name not in spool


def test_the_limit_counts_what_is_held(tmp_path: Path) -> None:
    size = len(pack(a_frame("one")))
    spool = a_spool(tmp_path, "a", most_bytes=2 * size)

    first = spool.put(a_frame("one"))
    assert spool.has_room(size)
    spool.put(a_frame("two"))
    assert not spool.has_room(1)
    spool.remove(first)
    assert spool.has_room(size)
    assert token("one") not in spool
