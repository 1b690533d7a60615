"""The audit log: what was done to an archive or a registry, when and by whom, in a chain that shows any edit.

It records and checks. What is worth an entry is decided by those who do it. `docs/governance.md` describes the
files for other tools.
"""

import getpass
import hashlib
import json
import logging
import random
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from inspect_compress.errors import AuditError
from pipelines.governance.objects import OBJECT_BYTES, Objects
from pipelines.progress import Track, untracked

FOLDER = "_audit"
"""Beside an archive's table: Delta Lake takes no notice of names that begin with an underscore."""
APPEND_ATTEMPTS = 50
"""How often an entry is tried again when other writers were first."""

_log = logging.getLogger(__name__)
_NAME = re.compile(rf"{FOLDER}/(\d{{10}})\.json")
_HEAD = re.compile(r"(\d{1,10}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Entry:
    """One entry. `at` is in UTC, ISO 8601; `previous` is the SHA-256 of the file before, empty in the first entry.

    `checksum` is the SHA-256 of the entry's file without the checksum itself.
    """

    number: int
    at: str
    by: str
    action: str
    details: Mapping[str, Any]
    previous: str
    checksum: str

    @property
    def head(self) -> str:
        """Number and hash of the entry's file: kept elsewhere, it proves that no later entry was cut off."""
        return f"{self.number}:{_sha256(_file(asdict(self)))}"


class AuditLog:
    """The log in the folder `_audit` at `place`: a local folder or an object store's URI. Several may write at once.

    Raises StoreError where the place cannot be reached.

        log = AuditLog("archive")
        log.append("export ended", by=who(), details={"files": 12, "folder": "claim-7"})
        for problem in log.verify():
            print(problem)
    """

    def __init__(self, place: str) -> None:
        self._objects = Objects(place)
        self._last = 0

    def append(self, action: str, *, by: str, details: Mapping[str, Any]) -> Entry:
        """Add an entry after the last one, and return it once it is stored. Its head goes to the process's log, too.

        Raises AuditError where `details` is not JSON or is too large, or other writers are always first.
        """
        for attempt in range(APPEND_ATTEMPTS):
            entry = self._next(action, by, details)
            if self._objects.put_new(_name(entry.number), _file(asdict(entry))):
                self._last = entry.number
                _log.info("audit log of %s: %s is entry %s", self._objects.place, action, entry.head)
                return entry
            time.sleep(random.uniform(0, 0.02 * min(attempt + 1, 10)))
        raise AuditError(
            f"{self._objects.place}: other writers were first {APPEND_ATTEMPTS} times in a row; "
            f"the entry {action!r} was not written; try again"
        )

    def entries(self) -> Iterator[Entry]:
        """The entries in their order. Raises AuditError, naming the file, for one that cannot be read."""
        for name in self._objects.names(FOLDER):
            if not _NAME.fullmatch(name):
                continue
            entry = _parsed(self._objects.get(name) or b"")
            if entry is None:
                raise AuditError(
                    f"{self._objects.place}, {name}: is not an entry of an audit log; run `audit verify`"
                )
            yield entry

    def verify(self, head: str | None = None, *, track: Track = untracked) -> list[str]:
        """What is wrong with the log, one line each; empty where each file is as it was written, and in its place.

        A log that was cut off at its end is whole in itself: only `head`, as `Entry.head` gave it earlier, shows
        that. Raises AuditError where `head` is not one.
        """
        known = _known_head(head)
        problems: list[str] = []
        number, hashed, reached = 0, "", known is None
        names = self._objects.names(FOLDER)
        for name in track(names, "checking", len(names)):
            match = _NAME.fullmatch(name)
            if not match:
                problems.append(f"{name}: is no file of the log")
                continue
            data = self._objects.get(name) or b""
            problems += [f"{name}: {problem}" for problem in _problems(data, number, int(match[1]), hashed)]
            number, hashed = int(match[1]), _sha256(data)
            if known and number == known[0]:
                reached = True
                if hashed != known[1]:
                    problems.append(f"{name}: is not the entry that the head {head} stands for")
        if known and not reached:
            problems.append(f"{_name(known[0])}: is missing; the head {head} was given for it")
        return problems

    def exists(self) -> bool:
        """Whether there is any file of a log."""
        return bool(self._objects.names(FOLDER))

    def head(self) -> str:
        """The head of the last entry, as it is stored; empty where there is none."""
        number = self._newest()
        return f"{number}:{_sha256(self._objects.get(_name(number)) or b'')}" if number else ""

    def _next(self, action: str, by: str, details: Mapping[str, Any]) -> Entry:
        number = self._newest()
        previous = self._objects.get(_name(number)) if number else None
        fields: dict[str, Any] = {
            "number": number + 1,
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "by": by,
            "action": action,
            "details": dict(details),
            "previous": _sha256(previous) if previous is not None else "",
        }
        try:
            checksum = _sha256(_file(fields))
        except (TypeError, ValueError) as error:
            raise AuditError(f"the audit entry {action!r} cannot be written as JSON: {error}") from error
        entry = Entry(**fields, checksum=checksum)
        if len(_file(asdict(entry))) > OBJECT_BYTES:
            raise AuditError(f"the audit entry {action!r} is larger than {OBJECT_BYTES} bytes; give fewer details")
        return entry

    def _newest(self) -> int:
        """The number of the last entry; those up to the last one seen are not listed again."""
        names = self._objects.names(FOLDER, after=_name(self._last) if self._last else "")
        return max([self._last, *(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))])


def who() -> str:
    """The user of this process and its machine, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _problems(data: bytes, before: int, number: int, hash_before: str) -> Iterator[str]:
    """What is wrong with the file `data` of entry `number`, which follows entry `before`."""
    if number != before + 1:
        missing = f"entry {before + 1} is" if number == before + 2 else f"entries {before + 1} to {number - 1} are"
        yield f"{missing} missing before it"
    entry = _parsed(data)
    if entry is None:
        yield "was changed: it is not an entry as this log writes it"
        return
    if entry.number != number:
        yield f"was moved: it says that it is entry {entry.number}"
    fields = asdict(entry)
    del fields["checksum"]
    if _sha256(_file(fields)) != entry.checksum:
        yield "was changed: its checksum is not that of its content"
    if number == before + 1 and entry.previous != hash_before:
        yield "does not follow the entry before it; one of the two was changed, put in or moved"


def _parsed(data: bytes) -> Entry | None:
    """The entry, where `data` is exactly the file that this log would write for it."""
    try:
        fields = json.loads(data)
        entry = Entry(**fields)
        return entry if _file(asdict(entry)) == data else None
    except (TypeError, ValueError, RecursionError):
        return None


def _file(fields: Mapping[str, Any]) -> bytes:
    """The one form of an entry's file: keys sorted, no spaces, UTF-8, and a line's end."""
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode() + b"\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _name(number: int) -> str:
    return f"{FOLDER}/{number:010}.json"


def _known_head(head: str | None) -> tuple[int, str] | None:
    if head is None:
        return None
    match = _HEAD.fullmatch(head)
    if not match:
        raise AuditError(
            f"{head!r} is not the head of an audit log; it looks like 41:SHA256, as `audit verify` prints it"
        )
    return int(match[1]), match[2]
