"""What happens on a line, told to whoever observes it: logs, metrics, brokers, alarms. Nothing here acts on it.

An observer is a function of one event, or an object that can be called like one:

    def observer(event: Event) -> None:
        if isinstance(event, Dropped):
            print(event.image, event.reason)

    run_line(config, observers=[observer])
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """A run began. `config` is the path of its TOML file, empty where it came from Python; `model` may be empty."""

    config: str
    line: str
    codec: str
    model: str


@dataclass(frozen=True)
class Captured:
    """A frame is in hand and cannot be lost any more: it is in the spool, or its source still has it."""

    frame_id: str
    image: str
    sequence: int
    captured_at: datetime
    raw_bytes: int


@dataclass(frozen=True)
class Spilled:
    """The queue was full, and the frame waits on disk instead of in memory."""

    frame_id: str
    raw_bytes: int


@dataclass(frozen=True)
class Degraded:
    """The queue was full, and the frame is encoded by `codec` at `quality` instead of at `asked_quality`."""

    frame_id: str
    asked_quality: int
    quality: int
    codec: str


@dataclass(frozen=True)
class Dropped:
    """`count` captured frames are gone for good. `frame_id` and `image` are empty where they are not known."""

    frame_id: str
    image: str
    count: int
    reason: str


@dataclass(frozen=True)
class Gap:
    """`count` frames never arrived here: the source's number jumped from `after` to `before`."""

    count: int
    after: int
    before: int


@dataclass(frozen=True)
class Stored:
    """A frame's row is committed to the archive. `psnr` is in dB, None where nothing was changed."""

    frame_id: str
    image: str
    codec: str
    model: str
    quality: int
    psnr: float | None
    width: int
    height: int
    channels: int
    bytes: int
    rule: str
    fallback: str
    captured_at: datetime


@dataclass(frozen=True)
class Judged:
    """What the detector said about a frame that was read back from the archive."""

    frame_id: str
    image: str
    score: float
    threshold: float
    defective: bool
    detector: str


@dataclass(frozen=True)
class Failed:
    """A stage could do nothing with a frame; `frame_id` is empty where it was never read."""

    stage: str
    image: str
    frame_id: str
    reason: str


@dataclass(frozen=True)
class Timed:
    """A stage took `seconds`: for one frame, or, of the stages `commit` and `read back`, for one batch."""

    stage: str
    seconds: float


@dataclass(frozen=True)
class Waiting:
    """`depth` frames wait in a queue that takes `limit`; told about once a second."""

    queue: str
    depth: int
    limit: int


@dataclass(frozen=True)
class Stalled:
    """The source has sent nothing for so many seconds. Told once, until it sends again."""

    seconds: float


@dataclass(frozen=True)
class Alarm:
    """Somebody should look: `kind` names the matter, `value` is beyond what was `expected`."""

    kind: str
    message: str
    value: float
    expected: float


@dataclass(frozen=True)
class Finished:
    """A run ended; frames of this run alone. `waiting` are captured and not stored: the next run takes them up."""

    captured: int
    stored: int
    already_stored: int
    failed: int
    dropped: int
    degraded: int
    waiting: int


Event = (
    Started
    | Captured
    | Spilled
    | Degraded
    | Dropped
    | Gap
    | Stored
    | Judged
    | Failed
    | Timed
    | Waiting
    | Stalled
    | Alarm
    | Finished
)


class Observer(Protocol):
    """Is told each event, from several threads at once. It must be quick, and must not raise."""

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        ...


class Events:
    """Tells every event to all observers. One that raises is logged, and holds up nothing."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def __call__(self, event: Event) -> None:
        """Tell an event."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                _log.exception("an observer failed on %s; the line goes on", type(event).__name__)
