"""Encryption: only the right key, for the right row, gives a payload back."""

import base64
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from inspect_compress.cli import build_app
from inspect_compress.errors import ArchiveError, ConfigError, EncryptionError
from inspect_compress.images import write_png
from pipelines.archive import Archive, ArchivedFrame
from pipelines.archive.verify import check_row
from pipelines.config import read_config
from pipelines.governance.audit import AuditLog
from pipelines.governance.encryption import KeyRing, add_new_key, keys_from_environment, read_keys
from pipelines.governance.rotation import Rotation, rotate
from pipelines.governance.settings import EncryptionConfig, key_ring
from pipelines.runner import run_line

KEYS = {"2027": bytes(range(32)), "2028": bytes(32)}


def ring(current: str | None = "2027") -> KeyRing:
    return KeyRing(KEYS, current=current, source="keys.toml")


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_what_is_sealed_is_what_is_unsealed(payload: bytes, identity: bytes) -> None:
    key_id, sealed = ring().seal(payload, identity)

    assert key_id == "2027"
    assert ring(None).unseal(sealed, key_id, identity) == payload


def test_a_payload_is_not_legible_and_never_sealed_alike() -> None:
    payload = b"a payload that repeats itself " * 4
    first, second = (ring().seal(payload, b"frame-1")[1] for _ in range(2))

    assert first != second
    assert payload[:8] not in first


def test_a_change_of_any_byte_is_refused() -> None:
    key_id, sealed = ring().seal(b"payload", b"frame-1")

    for position in range(len(sealed)):
        changed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        with pytest.raises(EncryptionError, match=r"frame frame-1, key '2027'"):
            ring().unseal(changed, key_id, b"frame-1")
    for length in range(len(sealed)):
        with pytest.raises(EncryptionError):
            ring().unseal(sealed[:length], key_id, b"frame-1")


def test_another_row_or_another_key_does_not_open_it() -> None:
    key_id, sealed = ring().seal(b"payload", b"frame-1\nqarv\n\n60")

    with pytest.raises(EncryptionError, match="belongs to another frame"):
        ring().unseal(sealed, key_id, b"frame-2\nqarv\n\n60")
    with pytest.raises(EncryptionError, match="another key under this id"):
        ring().unseal(sealed, "2028", b"frame-1\nqarv\n\n60")
    with pytest.raises(EncryptionError, match=r"key '2029': keys\.toml has no such key; it has: 2027, 2028"):
        ring().unseal(sealed, "2029", b"frame-1\nqarv\n\n60")


def test_a_new_key_becomes_the_current_one_and_the_old_ones_stay(tmp_path: Path) -> None:
    file = tmp_path / "secrets" / "keys.toml"

    add_new_key(file, "2027")
    key_id, sealed = read_keys(file).seal(b"payload", b"frame-1")
    add_new_key(file, "2028")

    found = read_keys(file)
    assert (found.ids, found.current, key_id) == (["2027", "2028"], "2028", "2027")
    assert found.unseal(sealed, "2027", b"frame-1") == b"payload"
    assert found.with_current("2027").seal(b"", b"")[0] == "2027"
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="has a key '2028' already"):
        add_new_key(file, "2028")


def test_whoever_may_read_the_key_file_may_read_it_with_another_key_in_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    add_new_key(file, "2027")
    file.chmod(0o640)

    add_new_key(file, "2028")

    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "keys.toml"
    add_new_key(file, "2027")
    file.chmod(mode)

    with pytest.raises(ConfigError, match=r"keys\.toml: others may read or change these keys; run chmod 600"):
        read_keys(file)


SECRET = base64.b64encode(bytes(range(31))).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a key file"),
        ("\0", "is not a key file"),
        (f'[keys]\na = "{SECRET}', "is not a key file"),
        (f'[keys]\na = "{SECRET}"', "has 31 bytes instead of 32"),
        (f'[keys]\na = "{SECRET}!"', "'a' is not base64"),
        ("[keys]\na = 7", "'a' is not base64"),
        ('[keys]\n"a b" = ""', "'a b' is not a key's id"),
        ('current = "x"\n[keys]', "has no key 'x'"),
        ("current = 7\n[keys]", "current is not the id of a key"),
        ("#" * 2**17, "is larger than"),
    ],
)
def test_a_bad_key_file_is_refused_and_its_secrets_are_not_told(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(ConfigError, match=message) as error:
        read_keys(file)
    assert "keys.toml" in str(error.value)
    assert SECRET not in str(error.value)


def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in KEYS.items()]
    monkeypatch.delenv("INSPECT_COMPRESS_KEYS", raising=False)
    assert keys_from_environment() is None
    with pytest.raises(ConfigError, match="INSPECT_COMPRESS_KEYS is not set"):
        key_ring(EncryptionConfig(keys="env"))

    monkeypatch.setenv("INSPECT_COMPRESS_KEYS", ", ".join(pairs))
    found = key_ring(EncryptionConfig(keys="env", key_id="2028"))
    assert found is not None
    assert (found.ids, found.current) == (["2027", "2028"], "2028")
    found = keys_from_environment()
    assert found is not None
    assert found.current == "2027"


def test_a_line_without_a_key_to_encrypt_with_does_not_begin(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[keys]\na = "{base64.b64encode(bytes(32)).decode()}"')
    file.chmod(0o600)

    assert key_ring(None) is None
    with pytest.raises(ConfigError, match=r"\[encryption\] key_id: is missing"):
        key_ring(EncryptionConfig(keys=str(file)))
    with pytest.raises(ConfigError, match="has no key 'b'; it has: a"):
        key_ring(EncryptionConfig(keys=str(file), key_id="b"))


def record(number: int, **changes: Any) -> ArchivedFrame:
    plain = ArchivedFrame(
        frame_id=f"frame' OR '1'='{number}",
        captured_at=datetime(2027, 3, 4 + number % 2, tzinfo=UTC),
        codec="png",
        model="",
        quality=60,
        width=20,
        height=10,
        channels=1,
        payload=b"payload %d " % number * 9,
        pixels_sha256="ab" * 32,
        line="line-1",
    )
    return replace(plain, **changes)


def key_ids(archive: Path) -> list[str | None]:
    return sorted(
        (key for batch in Archive(archive).scan(columns=["key_id"]) for key in batch.column(0).to_pylist()), key=str
    )


def test_an_archive_holds_nothing_legible_and_gives_everything_back(tmp_path: Path) -> None:
    records = [record(number) for number in range(4)]
    Archive(tmp_path, keys=ring()).append(records)

    assert not any(b"payload 1 payload 1" in file.read_bytes() for file in tmp_path.rglob("*.parquet"))
    read = sorted(Archive(tmp_path, keys=ring(None)).frames(), key=lambda found: found.frame_id)
    assert [(found.payload, found.key_id) for found in read] == [(sent.payload, "2027") for sent in records]
    with pytest.raises(ArchiveError, match="is encrypted with key '2027'"):
        list(Archive(tmp_path).frames())
    with pytest.raises(EncryptionError, match="2027"):
        list(Archive(tmp_path, keys=KeyRing({"2028": bytes(32)})).frames())


def test_rotation_brings_old_and_plain_payloads_under_the_new_key(tmp_path: Path) -> None:
    records = [record(number) for number in range(6)]
    Archive(tmp_path).append(records[:2])
    Archive(tmp_path, keys=ring("2027")).append(records[2:4])
    Archive(tmp_path, keys=ring("2028")).append(records[4:])
    stored = {found.frame_id: found for found in Archive(tmp_path, keys=ring()).frames()}

    assert rotate(str(tmp_path), ring("2028"), by="ann@plant") == Rotation(4, {})

    assert key_ids(tmp_path) == ["2028"] * 6
    read = Archive(tmp_path, keys=KeyRing({"2028": KEYS["2028"]}))
    assert {found.frame_id: replace(found, key_id="") for found in read.frames()} == {
        name: replace(found, key_id="") for name, found in stored.items()
    }
    assert rotate(str(tmp_path), ring("2028"), by="ann@plant") == Rotation(0, {})
    assert [(entry.action, entry.by, entry.details) for entry in AuditLog(str(tmp_path)).entries()] == [
        ("rotation begun", "ann@plant", {"to": "2028", "frames": 4}),
        ("rotation ended", "ann@plant", {"to": "2028", "rotated": 4, "failed": 0}),
    ]


def test_a_row_whose_key_is_missing_is_reported_and_the_others_are_rotated(tmp_path: Path) -> None:
    Archive(tmp_path, keys=KeyRing({"lost": bytes(32)}, current="lost")).append([record(1)])
    Archive(tmp_path, keys=ring("2027")).append([record(2), record(3)])

    done = rotate(str(tmp_path), ring("2028"), by="ann@plant")

    assert (done.rotated, list(done.failed)) == (2, [record(1).key])
    assert "key 'lost'" in done.failed[record(1).key]
    assert key_ids(tmp_path) == ["2028", "2028", "lost"]


def test_a_line_writes_on_while_its_keys_are_rotated(tmp_path: Path) -> None:
    Archive(tmp_path, keys=ring("2027")).append([record(number) for number in range(20)])
    written: list[int] = []

    def write() -> None:
        line = Archive(tmp_path, keys=ring("2028"))
        for number in range(20, 32):
            written.extend(range(len(line.commit([record(number)]))))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert rotate(str(tmp_path), ring("2028"), by="ann@plant").rotated == 20
        writing.result()

    assert key_ids(tmp_path) == ["2028"] * 32
    found = [frame.frame_id for frame in Archive(tmp_path, keys=ring("2028")).frames()]
    assert sorted(found) == sorted(record(number).frame_id for number in range(32))


def test_the_audit_log_and_vacuum_leave_each_other_alone(tmp_path: Path) -> None:
    Archive(tmp_path, keys=ring("2027")).append([record(1)])
    rotate(str(tmp_path), ring("2028"), by="ann@plant")
    table = DeltaTable(tmp_path)
    before = len(list(tmp_path.rglob("*.parquet")))

    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)

    assert len(list(tmp_path.rglob("*.parquet"))) == before - 1
    assert AuditLog(str(tmp_path)).verify() == []
    assert len(list(AuditLog(str(tmp_path)).entries())) == 2
    assert key_ids(tmp_path) == ["2028"]


def test_a_rotation_that_was_cut_off_is_completed_by_another(tmp_path: Path) -> None:
    Archive(tmp_path, keys=ring("2027")).append([record(number) for number in range(6)])

    def cut_off(items: Iterable[int], what: str, total: int | None) -> Iterator[int]:
        yield from islice(items, 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(str(tmp_path), ring("2028"), by="ann@plant", track=cut_off)
    assert key_ids(tmp_path) == ["2027"] * 3 + ["2028"] * 3
    assert len(list(Archive(tmp_path, keys=ring()).frames())) == 6

    assert rotate(str(tmp_path), ring("2028"), by="ann@plant").rotated == 3
    assert key_ids(tmp_path) == ["2028"] * 6
    actions = [entry.action for entry in AuditLog(str(tmp_path)).entries()]
    assert actions == ["rotation begun", "rotation begun", "rotation ended"]


def test_the_commands_make_a_key_and_rotate_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Archive("archive").append([record(1), record(2)])
    rotate_all = ["archive", "rotate", "archive", "--to", "2027"]

    made = CliRunner().invoke(build_app(), ["keys", "new", "keys.toml", "--id", "2027"])
    rotated = CliRunner().invoke(build_app(), [*rotate_all, "--keys", "keys.toml", "--by", "ann", "--json"])
    without_keys = CliRunner().invoke(build_app(), rotate_all)

    assert made.exit_code == 0, made.output
    assert json.loads(rotated.stdout) == {"archive": "archive", "to": "2027", "rotated": 2, "failed": []}
    assert key_ids(tmp_path / "archive") == ["2027"] * 2
    assert {entry.by for entry in AuditLog("archive").entries()} == {"ann"}
    assert without_keys.exit_code == 1
    assert "name a key file by --keys, or set INSPECT_COMPRESS_KEYS" in str(without_keys.exception)


def test_a_line_with_a_key_leaves_no_picture_behind_that_can_be_read_without_it(tmp_path: Path) -> None:
    write_png(tmp_path / "frames" / "part.png", np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8))
    add_new_key(tmp_path / "keys.toml", "2027")
    (tmp_path / "line.toml").write_text(LINE)

    result = run_line(read_config(tmp_path / "line.toml"))

    assert (result.captured, result.stored, result.failures) == (1, 1, ())
    signature = (tmp_path / "frames" / "part.png").read_bytes()[:16]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "frames" not in path.parts]
    assert not [path for path in files if signature in path.read_bytes()]
    (row,) = (row for batch in Archive(tmp_path / "archive").scan() for row in batch.to_pylist())
    assert (row["key_id"], row["payload"][:4]) == ("2027", b"ICE1")
    assert check_row(row, read_keys(tmp_path / "keys.toml")) == ""
    assert "is encrypted with key '2027'" in check_row(row)
    assert "another key under this id" in check_row(row, ring("2027"))


LINE = """
[source]
kind = "folder"
path = "frames"
[compress]
codec = "png"
[archive]
uri = "archive"
[encryption]
keys = "keys.toml"
"""
