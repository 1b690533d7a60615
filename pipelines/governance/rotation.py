"""Rotation: the payloads of an archive under another key. The keys themselves are made elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.compute as pc

from inspect_compress.errors import ArchiveError, EncryptionError
from pipelines.archive import Archive, ArchivedFrame, FrameKey
from pipelines.governance.audit import AuditLog
from pipelines.governance.encryption import KeyRing
from pipelines.progress import Track, untracked


@dataclass(frozen=True)
class Rotation:
    """How many rows were encrypted anew, and those that could not be, each with the reason."""

    rotated: int
    failed: dict[FrameKey, str]


def rotate(uri: str, keys: KeyRing, *, by: str, track: Track = untracked) -> Rotation:
    """Encrypt with the current key each payload that is not: those under other keys, and those under none.

    Each commit replaces some hundred rows or none, so that a rotation that was cut off is completed by another. Its
    beginning and its end are in the audit log. Raises ArchiveError where the archive cannot be read or written.
    """
    if keys.current is None:
        raise EncryptionError("there is no key to encrypt with; name one")
    archive = Archive(uri, create=False, keys=keys)
    due = (pc.field("key_id") != keys.current) | pc.field("key_id").is_null()
    rows = sum(batch.num_rows for batch in archive.scan(columns=["frame_id"], where=due))
    if not rows:
        return Rotation(0, {})
    log, failed = AuditLog(uri), dict[FrameKey, str]()
    log.append("rotation begun", by=by, details={"to": keys.current, "frames": rows})

    def note(key: FrameKey, error: ArchiveError) -> None:
        failed[key] = str(error)

    seen = iter(track(range(rows), "encrypting", rows))
    rotated = archive.rewrite(lambda record: _counted(record, seen), where=due, on_damaged=note)
    log.append("rotation ended", by=by, details={"to": keys.current, "rotated": rotated, "failed": len(failed)})
    return Rotation(rotated, failed)


def _counted(record: ArchivedFrame, seen: Iterator[int]) -> ArchivedFrame:
    """The same record: what changes is the key that the archive seals it with."""
    next(seen, None)
    return record
