"""What makes a row of the archive sound, and what is said of one that is not."""

from pathlib import Path

import google_crc32c
import pytest

from inspect_compress.codecs import load_codec
from pipelines.archive import Archive, check_row
from tests.pipelines.archive_records import encoded, picture


def row(folder: Path, codec: str = "png", **changes: object) -> dict:
    archive = Archive(folder)
    archive.append([encoded(1, codec, **changes)])
    return next(archive.scan()).to_pylist()[0]


def holding(row: dict, payload: bytes) -> dict:
    """The row as if it had been stored with this payload."""
    return row | {"payload": payload, "bytes": len(payload), "payload_crc32c": google_crc32c.value(payload)}


@pytest.mark.parametrize("codec", ["png", "jpeg", "qarv"])
def test_a_row_as_it_was_stored_is_sound(tmp_path: Path, codec: str) -> None:
    assert check_row(row(tmp_path, codec)) == ""


def test_a_row_of_an_older_archive_is_sound_without_its_hash(tmp_path: Path) -> None:
    assert check_row(row(tmp_path, "jpeg", decoded_sha256="")) == ""


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_changed_byte_is_found(tmp_path: Path, position: int) -> None:
    sound = row(tmp_path)
    payload = bytearray(sound["payload"])
    payload[position] ^= 1

    assert "bytes were changed" in check_row(sound | {"payload": bytes(payload)})
    assert "bytes were changed" in check_row(sound | {"payload": sound["payload"][:-1]})


@pytest.mark.parametrize("changes", [{}, {"decoded_sha256": ""}])
def test_another_picture_of_the_same_size_is_found(tmp_path: Path, changes: dict[str, str]) -> None:
    other = load_codec("png").encode(picture(2), quality=90)

    assert "other pixels" in check_row(holding(row(tmp_path, **changes), other))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 17}, "the row says"),
        ({"channels": 3}, "the row says"),
        ({"bit_depth": 12}, "12 bits"),
        ({"codec": "none-such"}, "unknown codec"),
        ({"key_id": "2026"}, "encrypted with key '2026'"),
    ],
)
def test_a_row_that_says_something_else_than_its_payload_is_found(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    assert reason in check_row(row(tmp_path) | changes)


def test_a_model_that_is_not_installed_is_named(tmp_path: Path) -> None:
    sound = row(tmp_path, "qarv")
    fingerprint = bytes.fromhex(sound["model"])[:4]
    assert fingerprint in sound["payload"]
    body = sound["payload"][:-4].replace(fingerprint, bytes.fromhex("00112233"), 1)

    reason = check_row(holding(sound, body + google_crc32c.value(body).to_bytes(4, "little")))

    assert "00112233 is not installed" in reason


def test_what_does_not_decode_is_one_line(tmp_path: Path) -> None:
    reason = check_row(holding(row(tmp_path), b"no picture"))

    assert reason
    assert "\n" not in reason
