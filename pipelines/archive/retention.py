"""Letting frames go: rules say how long what is kept, holds keep it longer, and each departure is recorded."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from inspect_compress.errors import ArchiveError
from inspect_compress.settings import read_settings
from pipelines.archive.departures import DEPARTURE_SCHEMA, Departures
from pipelines.archive.holds import Hold, Holds
from pipelines.archive.schema import FrameKey, Row, key_of
from pipelines.archive.selection import Selection, judged_rows, judgement
from pipelines.archive.table import Archive
from pipelines.archive.verdicts import JudgedFrame
from pipelines.progress import Track, untracked
from pipelines.section import Section

FOREVER = "forever"
LONGEST = 365 * 1000
"""Days; longer is `forever`."""


def _days(value: Any) -> Any:
    if value != FOREVER and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LONGEST):
        raise ValueError(f'is {value!r}; give a whole number of days from 0 to {LONGEST}, or "{FOREVER}"')
    return value


class Rule(Section):
    """`[[rule]]`: which frames, and how many days after their capture they are kept."""

    name: str = Field(min_length=1)
    keep_days: Annotated[int | Literal["forever"], BeforeValidator(_days)]
    line: str | None = None
    station: str | None = None
    product: str | None = None
    camera: str | None = None
    codec: str | None = None
    verdict: Literal["defective", "good"] | None = None

    def applies(self, row: Row, verdicts: Sequence[JudgedFrame]) -> bool:
        """Whether the rule speaks of this row."""
        places = ("line", "station", "product", "camera", "codec")
        return all(getattr(self, name) in (None, row[name] or "") for name in places) and (
            self.verdict is None or judgement(verdicts) == self.verdict
        )

    def cutoff(self, now: datetime) -> datetime | None:
        """What was captured before this time may go; None where nothing may."""
        return None if isinstance(self.keep_days, str) else now - timedelta(days=self.keep_days)


class Policy(Section):
    """A whole policy. The first rule that applies to a frame decides; a frame of no rule is kept."""

    rule: list[Rule] = Field(min_length=1)


@dataclass
class Expiry:
    """What went, or would go: frames and payload bytes by rule, by line and day, and what holds kept."""

    dry_run: bool
    frames: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    days: Counter[tuple[date, str]] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """The result as it is printed by `--json` and written to the audit log."""
        return {
            "dry_run": self.dry_run,
            "frames": self.frames.total(),
            "bytes": self.bytes.total(),
            "by_rule": {name: {"frames": self.frames[name], "bytes": self.bytes[name]} for name in self.frames},
            "by_day": [
                {"date": day.isoformat(), "line": line, "frames": count}
                for (day, line), count in sorted(self.days.items())
            ],
            "held": dict(self.held),
        }


def read_policy(path: Path) -> Policy:
    """Read a policy. Raises ConfigError that names the file and the key, and says what to do."""
    return read_settings(path, Policy)


def expire(
    archive: Archive, policy: Policy, *, now: datetime, by: str, dry_run: bool, track: Track = untracked
) -> Expiry:
    """Remove the frames whose time has come, and record each before it goes; or only count them.

    Raises ArchiveError where a hold cannot be read, or another one is placed meanwhile; what has gone by then is on
    record, and running it again goes on.
    """
    holds = Holds(archive.uri).all()
    expiry = Expiry(dry_run)
    doomed = track(_doomed(archive, policy, holds, now, expiry), "letting go", None)
    if dry_run:
        for _ in doomed:
            pass
        return expiry
    departures = Departures(archive.uri)

    def beforehand(rows: Sequence[Row]) -> None:
        if Holds(archive.uri).all() != holds:
            raise ArchiveError(f"{archive.uri}: the holds were changed meanwhile; nothing more goes; run again")
        departures.append(rows, by=by, at=now)

    archive.remove(doomed, beforehand=beforehand)
    return expiry


def _doomed(
    archive: Archive, policy: Policy, holds: Sequence[Hold], now: datetime, expiry: Expiry
) -> Iterator[dict[str, Any]]:
    """The rows that go, each with its rule; `expiry` counts them as they pass."""
    cutoffs = [cutoff for rule in policy.rule if (cutoff := rule.cutoff(now))]
    if not cutoffs:
        return
    old = Selection(until=max(cutoffs))
    judged: Mapping[FrameKey, Sequence[JudgedFrame]] = {}
    if any(rule.verdict for rule in policy.rule):
        judged = judged_rows(archive, old)
    columns = [name for name in DEPARTURE_SCHEMA.names if name not in ("rule", "asked_by", "expired_at")]
    for batch in archive.scan(columns=columns, where=old.where):
        for row in batch.to_pylist():
            verdicts = judged.get(key_of(row), ())
            rule = next((rule for rule in policy.rule if rule.applies(row, verdicts)), None)
            cutoff = rule.cutoff(now) if rule else None
            if rule is None or cutoff is None or row["captured_at"].astimezone(UTC) >= cutoff:
                continue
            if hold := next((hold for hold in holds if hold.covers(row)), None):
                expiry.held[hold.name] += 1
                continue
            expiry.frames[rule.name] += 1
            expiry.bytes[rule.name] += row["bytes"]
            expiry.days[row["date"], row["line"] or ""] += 1
            yield row | {"rule": rule.name}
