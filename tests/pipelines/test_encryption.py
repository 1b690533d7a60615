"""Encryption: only the right key, for the right row, gives a payload back."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.errors import ConfigError, EncryptionError
from pipelines.governance.encryption import KeyRing, add_new_key, keys_from_environment, read_keys
from pipelines.governance.settings import EncryptionConfig, key_ring

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

    keys = read_keys(file)
    assert (keys.ids, keys.current, key_id) == (["2027", "2028"], "2028", "2027")
    assert keys.unseal(sealed, "2027", b"frame-1") == b"payload"
    assert keys.with_current("2027").seal(b"", b"")[0] == "2027"
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="has a key '2028' already"):
        add_new_key(file, "2028")


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
    keys = key_ring(EncryptionConfig(keys="env", key_id="2028"))
    assert keys is not None
    assert (keys.ids, keys.current) == (["2027", "2028"], "2028")
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
