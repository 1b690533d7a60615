"""What the archive asks of encryption: payloads go in, sealed ones come out. How that is done is not known here."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from inspect_compress.errors import ArchiveError
from pipelines.archive.schema import ArchivedFrame, FrameKey, key_of


class Keys(Protocol):
    """Seals payloads before they are stored, and unseals them when they are read.

    `identity` is bound to what is sealed: a payload that was moved to another row does not unseal.
    """

    def seal(self, payload: bytes, identity: bytes) -> tuple[str, bytes]:
        """Return the id of the key that was used, and the sealed payload."""
        ...

    def unseal(self, sealed: bytes, key_id: str, identity: bytes) -> bytes:
        """Return the payload. Raises EncryptionError where the key is missing or wrong, or a byte was changed."""
        ...


def identity_of(key: FrameKey) -> bytes:
    """The bytes that stand for a row when its payload is sealed."""
    return "\n".join([key.frame_id, key.codec, key.model, str(key.quality)]).encode()


def sealed(record: ArchivedFrame, keys: Keys | None) -> ArchivedFrame:
    """The record with its payload as it is to be stored."""
    if keys is None:
        return replace(record, key_id="")
    key_id, payload = keys.seal(record.payload, identity_of(record.key))
    return replace(record, key_id=key_id, payload=payload)


def plain_payload(row: Mapping[str, Any], keys: Keys | None) -> bytes:
    """The payload of a row as it was before it was sealed, if it was.

    Raises ArchiveError where keys are needed and there are none, EncryptionError where they do not fit.
    """
    if not row["key_id"]:
        return bytes(row["payload"])
    if keys is None:
        raise ArchiveError(
            f"frame {row['frame_id']}: is encrypted with key {row['key_id']!r}; name the file that holds this key"
        )
    return keys.unseal(row["payload"], row["key_id"], identity_of(key_of(row)))
