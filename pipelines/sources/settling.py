"""Which files of a folder that fills are whole and not yet read. Neither the disk nor the clock is known here.

book = Settling(settle=2, patience=60)
for name in book.ready(found, now):
    ...  # read it; then book.taken(name), or book.refused(name, now)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Signature(NamedTuple):
    """What shows that a file was written to: its time of modification in nanoseconds, and its size in bytes."""

    modified: int
    size: int


@dataclass
class _Seen:
    signature: Signature
    since: float
    due: float | None
    """When it is to be read next; None where it was read, or given up, as it is."""
    reported: bool = False


class Settling:
    """Remembers each file that lies in the folder, and forgets it when it is gone.

    A file is ready when its signature has not changed for `settle` seconds, and once for each signature: what is
    written anew is read anew. One that was refused is tried again when it has been the same for `patience` seconds.
    """

    def __init__(
        self,
        *,
        settle: float,
        patience: float,
        order: Callable[[str, Signature], Any] = lambda name, signature: (signature.modified, name),
    ) -> None:
        self._settle = settle
        self._patience = patience
        self._order = order
        self._seen: dict[str, _Seen] = {}

    def __len__(self) -> int:
        """The number of files that are remembered."""
        return len(self._seen)

    def ready(self, found: Mapping[str, Signature], now: float, *, whole: bool = True) -> list[tuple[str, Signature]]:
        """The files to read now, in the order of capture, from what lies in the folder.

        `whole` says that all of the folder was seen: what is not among `found` is gone.
        """
        if whole:
            self._seen = {name: seen for name, seen in self._seen.items() if name in found}
        for name, signature in found.items():
            if name not in self._seen or self._seen[name].signature != signature:
                self._seen[name] = _Seen(signature, now, now + self._settle)
        due = [
            (name, signature)
            for name, signature in found.items()
            if (at := self._seen[name].due) is not None and at <= now
        ]
        return sorted(due, key=lambda item: self._order(*item))

    def taken(self, name: str) -> None:
        """The file was read: it is not ready again until it changes."""
        self._seen[name].due = None

    def refused(self, name: str, now: float, *, lasting: bool = True) -> bool:
        """The file could not be read. Returns whether to report it: once, when its patience is over.

        What is in a file does not change until its signature does, so that it is then left alone. Where the
        reason is not `lasting`, as when a share answers with an error, it is tried again and again.
        """
        seen = self._seen[name]
        over = now >= seen.since + self._patience
        seen.due = (None if over else seen.since + self._patience) if lasting else now + self._settle
        report = over and not seen.reported
        seen.reported |= over
        return report
