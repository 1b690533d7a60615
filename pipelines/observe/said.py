"""An event in words and as JSON, for logs and messages. It decides nothing and sends nothing."""

import dataclasses
import logging
import math
from datetime import UTC, datetime
from typing import Any

from pipelines.flow.events import (
    Alarm,
    Captured,
    Degraded,
    Dropped,
    Event,
    Failed,
    Finished,
    Gap,
    Judged,
    Spilled,
    Stalled,
    Started,
    Stored,
    Timed,
    Waiting,
)


def name_of(event: Event) -> str:
    """The event's name as logs and messages have it: `stored`."""
    return type(event).__name__.lower()


def fields_of(event: Event) -> dict[str, Any]:
    """The event's fields as JSON has them: times in UTC as text; null for a number that is not finite."""
    return {field.name: plain(getattr(event, field.name)) for field in dataclasses.fields(event)}


def plain(value: Any) -> Any:
    """A value that JSON has a form for; a file name that is no text has its bytes as escapes."""
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def utc(moment: datetime) -> str:
    """A moment in UTC, to the microsecond: `2027-05-04T06:07:08.123456Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def level_of(event: Event) -> int:
    """How much attention the event deserves, as one of logging's levels."""
    match event:
        case Dropped() | Failed() | Alarm():
            return logging.ERROR
        case Degraded() | Gap() | Stalled():
            return logging.WARNING
        case Stored(fallback=reason) if reason:
            return logging.WARNING
        case Started() | Finished():
            return logging.INFO
        case Judged(defective=True):
            return logging.INFO
        case _:
            return logging.DEBUG


def sentence(event: Event) -> str:
    """The event as one line that a person reads."""
    return one_line(_said(event))


def one_line(text: str) -> str:
    """Names come from outside: what would break a line or move a terminal's cursor is written as an escape."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _said(event: Event) -> str:
    match event:
        case Captured():
            return f"captured {event.image}"
        case Spilled():
            return f"spilled {event.frame_id}: {event.raw_bytes} bytes are in the spool"
        case Degraded():
            kept = f"{event.codec} at quality {event.quality}"
            return f"degraded {event.frame_id}: {kept} instead of {event.asked_quality}"
        case Dropped():
            return f"dropped {event.count} ({event.image or event.frame_id or 'not known which'}): {event.reason}"
        case Gap():
            return f"gap: {event.count} frames are missing between numbers {event.after} and {event.before}"
        case Stored():
            fell_back = f"; fell back: {event.fallback}" if event.fallback else ""
            return f"stored {event.image}: {event.codec} at quality {event.quality}, {event.bytes} bytes{fell_back}"
        case Judged():
            verdict = "defective" if event.defective else "good"
            return f"judged {event.image}: {verdict}, score {event.score:.4g}, threshold {event.threshold:.4g}"
        case Failed():
            return f"failed {event.image or event.frame_id} ({event.stage}): {event.reason}"
        case Timed():
            return f"timed {event.stage}: {event.seconds:.6f} s"
        case Waiting():
            return f"waiting before {event.queue}: {event.depth} of {event.limit}"
        case Stalled():
            return f"stalled: no frame for {event.seconds:.0f} s"
        case Alarm():
            return f"alarm ({event.kind}): {event.message}"
        case Started():
            return f"started {event.config or event.line}: {event.codec} {event.model}".rstrip()
        case Finished():
            return "finished: " + ", ".join(f"{name} {value}" for name, value in fields_of(event).items())
