"""One event of every kind, for the tests of those who observe them."""

import socket
from datetime import UTC, datetime

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

NOON = datetime(2027, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC)

STORED = Stored("f1", "a.png", "jpeg", "", 80, 41.5, 64, 48, 1, 1536, "default", "", NOON)
FELL_BACK = Stored("f2", "b.png", "jxl", "", 100, None, 64, 48, 1, 3000, "default", "jpeg: PSNR is 30 dB", NOON)

LATE = Stored("f5", "e.png", "jpeg", "", 30, 35.0, 64, 48, 1, 500, "default", "degraded: the queue was full", NOON)

EVENTS: tuple[Event, ...] = (
    Started("line.toml", "L1", "jpeg", ""),
    Captured("f1", "a.png", 7, NOON, 3072),
    Captured("f2", "b.png", 10, NOON, 3072),
    Gap(2, 7, 10),
    Spilled("f2", 3072),
    Degraded("f2", 80, 30, "jpeg"),
    STORED,
    FELL_BACK,
    Timed("encode", 0.02),
    Timed("encode", 0.04),
    Waiting("compress", 3, 16),
    Judged("f1", "a.png", 0.1, 0.5, False, "anomaly"),
    Judged("f2", "b.png", 0.9, 0.5, True, "anomaly"),
    Dropped("f3", "c.png", 1, "the spool is full"),
    Failed("decode", "d.png", "f4", "it does not decode"),
    Stalled(61.0),
    Alarm("bpp", "bits per pixel rose", 1.5, 0.5),
    Finished(4, 2, 0, 1, 1, 1, 0),
)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
