"""Legal holds: frames that must not be let go, whatever the policy says, until the hold is released.

A hold is one small JSON object in the archive's folder `_holds`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from inspect_compress.errors import ArchiveError
from pipelines.archive.schema import Row
from pipelines.governance.objects import OBJECT_BYTES, Objects

FOLDER = "_holds"
HOLD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Hold:
    """Keeps the rows that have all of these properties; what is None or empty is not asked for.

    Times are of capture, `since` included and `until` not.
    """

    name: str
    reason: str
    by: str
    at: datetime
    since: datetime | None = None
    until: datetime | None = None
    line: str | None = None
    station: str | None = None
    product: str | None = None
    camera: str | None = None
    frame_ids: tuple[str, ...] = ()

    def covers(self, row: Row) -> bool:
        """Whether a row must be kept."""
        places = ("line", "station", "product", "camera")
        return (
            (self.since is None or row["captured_at"] >= self.since)
            and (self.until is None or row["captured_at"] < self.until)
            and all(getattr(self, name) in (None, row[name] or "") for name in places)
            and (not self.frame_ids or row["frame_id"] in self.frame_ids)
        )

    def to_dict(self) -> dict[str, Any]:
        """The hold in JSON's types; what is not asked for is left out."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


class Holds:
    """The holds on the archive at `uri`. Raises ArchiveError where one cannot be read: then nothing may go."""

    def __init__(self, uri: str) -> None:
        self._uri, self._objects = uri, Objects(uri)

    def add(self, hold: Hold) -> None:
        """Place a hold. Raises ArchiveError for a name that is unfit or taken."""
        if not HOLD_NAME.fullmatch(hold.name):
            raise ArchiveError(
                f"{self._uri}: {hold.name!r} is no name for a hold; use up to 64 letters, digits, dots, hyphens and "
                "underscores, and begin with a letter or digit"
            )
        data = json.dumps(hold.to_dict(), ensure_ascii=False, indent=1).encode()
        if len(data) > OBJECT_BYTES:
            raise ArchiveError(f"{self._uri}: hold {hold.name!r} names too many frames; place several holds")
        if not self._objects.put_new(_path(hold.name), data):
            raise ArchiveError(f"{self._uri}: there is a hold {hold.name!r} already; choose another name")

    def all(self) -> list[Hold]:
        """Every hold, by name."""
        return [self._read(path) for path in self._objects.names(FOLDER)]

    def get(self, name: str) -> Hold:
        """A hold by its name. Raises ArchiveError where there is none."""
        for hold in self.all():
            if hold.name == name:
                return hold
        known = ", ".join(hold.name for hold in self.all())
        raise ArchiveError(f"{self._uri}: there is no hold {name!r}; there are: {known or 'none'}")

    def release(self, name: str) -> Hold:
        """Take a hold away and return it. Raises ArchiveError where there is none."""
        hold = self.get(name)
        self._objects.delete(_path(name))
        return hold

    def _read(self, path: str) -> Hold:
        try:
            return _hold_of(json.loads(self._objects.get(path) or b""))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArchiveError(f"{self._uri}, {path}: is not a hold; restore it from a copy") from error


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.json"


def _hold_of(values: Mapping[str, Any]) -> Hold:
    times = {
        name: datetime.fromisoformat(values[name]).astimezone(UTC)
        for name in ("at", "since", "until")
        if name in values
    }
    return Hold(**{**values, **times, "frame_ids": tuple(values.get("frame_ids", ()))})
