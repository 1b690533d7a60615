"""Encryption of payloads at rest by AES-256-GCM, and the keys for it, from a file or the environment.

What is encrypted is decided elsewhere; `SECURITY.md` says against whom it protects, and against whom it does not.
"""

import base64
import binascii
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inspect_compress.errors import ConfigError, EncryptionError
from inspect_compress.files import output_errors

VARIABLE = "INSPECT_COMPRESS_KEYS"
"""The environment's keys: `ID:KEY,ID:KEY`, the one to encrypt with first."""
KEY_BYTES = 32
NONCE_BYTES = 12
TAG = b"ICE1"
"""What a sealed payload begins with; the nonce follows, then the ciphertext and its 16 bytes of authentication."""
KEY_FILE_BYTES = 64 * 2**10

KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NOT_ALLOWED = 0o027
"""Of a key file: that its group may write it, or anybody else do anything with it."""


class KeyRing:
    """The keys of an archive by their ids, and the one that new payloads are encrypted with.

    `keys` are 32 bytes each. With no `current` key, payloads can be decrypted only.

        ring = KeyRing({"2027": secrets.token_bytes(32)}, current="2027")
        key_id, sealed = ring.seal(b"payload", b"frame-1")
        assert ring.unseal(sealed, key_id, b"frame-1") == b"payload"
    """

    def __init__(
        self, keys: Mapping[str, bytes], *, current: str | None = None, source: str = "the key ring"
    ) -> None:
        for key_id, key in keys.items():
            _check_key_id(key_id, source)
            if len(key) != KEY_BYTES:
                raise ConfigError(
                    f"{source}: key {key_id!r} has {len(key)} bytes instead of {KEY_BYTES}; "
                    "make keys by `inspect-compress keys new`"
                )
        if current is not None and current not in keys:
            raise ConfigError(f"{source}: has no key {current!r}; it has: {', '.join(keys) or 'none'}")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._source = source
        self.current = current

    @property
    def ids(self) -> list[str]:
        """The ids of all keys, in the order of their source."""
        return list(self._ciphers)

    def with_current(self, key_id: str) -> "KeyRing":
        """The same keys, encrypting with `key_id`. Raises ConfigError where it is not among them."""
        if key_id not in self._ciphers:
            raise ConfigError(f"{self._source}: has no key {key_id!r}; it has: {', '.join(self.ids) or 'none'}")
        ring = KeyRing({}, source=self._source)
        ring._ciphers, ring.current = self._ciphers, key_id
        return ring

    def seal(self, payload: bytes, identity: bytes) -> tuple[str, bytes]:
        """The current key's id, and `payload` encrypted with it, bound to `identity`."""
        if self.current is None:
            raise EncryptionError(f"{self._source}: names no key to encrypt with; set key_id in [encryption]")
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ciphers[self.current].encrypt(nonce, payload, _bound_to(self.current, identity))
        return self.current, TAG + nonce + sealed

    def unseal(self, sealed: bytes, key_id: str, identity: bytes) -> bytes:
        """What was sealed. Raises EncryptionError, naming frame and key, where its key is missing or unfit."""
        name = f"frame {_frame_of(identity)}, key {key_id!r}"
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise EncryptionError(f"{name}: {self._source} has no such key; it has: {', '.join(self.ids) or 'none'}")
        start = len(TAG) + NONCE_BYTES
        if not sealed.startswith(TAG) or len(sealed) < start:
            raise EncryptionError(f"{name}: is not an encrypted payload; restore it from a copy")
        try:
            return cipher.decrypt(sealed[len(TAG) : start], sealed[start:], _bound_to(key_id, identity))
        except InvalidTag as error:
            raise EncryptionError(
                f"{name}: cannot be decrypted: the payload was changed or belongs to another frame, or "
                f"{self._source} has another key under this id"
            ) from error


def keys_at_hand(file: Path | None) -> KeyRing | None:
    """The keys of a command: those in `file`, else the environment's, else None."""
    return read_keys(file) if file else keys_from_environment()


def read_keys(file: Path) -> KeyRing:
    """Read a key file. Raises ConfigError where it is not one, or others than its owner and group may read it."""
    try:
        mode = file.stat().st_mode
        with file.open("rb") as opened:
            data = opened.read(KEY_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error
    if os.name == "posix" and mode & _NOT_ALLOWED:
        raise ConfigError(f"{file}: others may read or change these keys; run chmod 600 {file}")
    if len(data) > KEY_FILE_BYTES:
        raise ConfigError(f"{file}: is larger than {KEY_FILE_BYTES} bytes; it is no key file")
    try:
        values = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):  # what it says stays out of the message
        raise ConfigError(f"{file}: is not a key file; make one by `inspect-compress keys new`") from None
    keys = values.get("keys")
    if not isinstance(keys, dict) or set(values) - {"keys", "current"}:
        raise ConfigError(f"{file}: is not a key file: it has a section [keys], and `current`, and nothing else")
    return KeyRing(
        {key_id: _decoded(text, key_id, str(file)) for key_id, text in keys.items()},
        current=_text(values.get("current"), file),
        source=str(file),
    )


def keys_from_environment() -> KeyRing | None:
    """The keys of the variable `INSPECT_COMPRESS_KEYS`; None where it is not set."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    pairs = [pair.partition(":") for pair in text.split(",")]
    keys = {key_id.strip(): _decoded(key.strip(), key_id.strip(), VARIABLE) for key_id, _, key in pairs}
    return KeyRing(keys, current=next(iter(keys)), source=VARIABLE)


def add_new_key(file: Path, key_id: str) -> None:
    """Make a key at random and write it to `file`, beside those that are there, as the current one.

    Raises ConfigError where the file has a key of this id, or is no key file.
    """
    _check_key_id(key_id, str(file))
    keys: dict[str, str] = {}
    if file.exists():
        read_keys(file)
        keys = tomllib.loads(file.read_text(encoding="utf-8"))["keys"]
    if key_id in keys:
        raise ConfigError(f"{file}: has a key {key_id!r} already; choose another id")
    keys[key_id] = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    lines = [
        "# Keys of inspect-compress. Without them nobody can read the frames: keep a copy apart from the archive.",
        f'current = "{key_id}"',
        "",
        "[keys]",
        *(f'"{name}" = "{key}"' for name, key in keys.items()),
    ]
    _write_secret(file, "\n".join(lines).encode() + b"\n")


def _write_secret(file: Path, data: bytes) -> None:
    """Write a file that only its owner can read, or those who could read it before, whole or not at all."""
    with output_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # readable by its owner only
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
                if file.exists():
                    _let_the_same_read(opened.fileno(), file.stat())
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)


def _let_the_same_read(handle: int, before: os.stat_result) -> None:
    """Give an open file the owner, group and mode of the one that it replaces."""
    if os.name == "posix":
        os.fchown(handle, before.st_uid, before.st_gid)
        os.fchmod(handle, before.st_mode & 0o777)


def _decoded(text: Any, key_id: str, source: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ConfigError(
            f"{source}: key {key_id!r} is not base64; make keys by `inspect-compress keys new`"
        ) from None


def _text(value: Any, file: Path) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConfigError(f"{file}: current is not the id of a key")


def _check_key_id(key_id: str, source: str) -> None:
    if not KEY_ID.fullmatch(key_id):
        raise ConfigError(
            f"{source}: {key_id!r} is not a key's id; use up to 64 letters, digits, dots, hyphens and underscores"
        )


def _bound_to(key_id: str, identity: bytes) -> bytes:
    """The associated data: a payload decrypts only under its key's id and for its own row."""
    return b"\n".join([b"inspect-compress payload 1", key_id.encode(), identity])


def _frame_of(identity: bytes) -> str:
    return identity.decode(errors="replace").split("\n")[0]
