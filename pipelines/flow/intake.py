"""The queue between the source and the chain: how many frames wait, where, and what happens when there are more.

A frame counts as captured once it cannot be lost any more. No frame leaves without a word to the ledger.
"""

import threading
from collections import deque
from collections.abc import Iterator

from inspect_compress.errors import ArchiveError, SpoolError
from pipelines.flow.events import Alarm, Captured, Dropped, Event, Events, Failed, Spilled
from pipelines.flow.insisting import Insisting
from pipelines.flow.ledger import Ledger
from pipelines.flow.settings import WhenFull
from pipelines.flow.spool import Spool
from pipelines.frame import Frame
from pipelines.stages import image_name

ROOM_SECONDS = 0.5
"""How often a full spool is looked at again."""


class Intake:
    """Frames that were captured and wait to be compressed, oldest first.

    At most `limit` of them are in memory. Where the source cannot be read again, each is in the spool before it
    counts as captured. `put` is called by one thread and the iterator used by another; both end soon after `stop`
    is set.
    """

    def __init__(
        self,
        *,
        limit: int,
        when_full: WhenFull,
        durable: bool,
        spool: Spool,
        ledger: Ledger,
        tell: Events,
        insisting: Insisting,
        stop: threading.Event,
    ) -> None:
        self.limit = limit
        self._when_full, self._durable = when_full, durable
        self._spool, self._ledger, self._tell = spool, ledger, tell
        self._insist, self._stop = insisting, stop
        self._waiting: deque[Frame | str] = deque()
        self._in_memory = 0
        self._late: set[str] = set()
        self._left: set[str] = set()
        self._closed = False
        self._changed = threading.Condition()

    def take_up(self, spooled: list[str]) -> None:
        """Put the spooled frames of dead processes first."""
        self._left = set(spooled)
        self._waiting.extend(spooled)

    def put(self, frame: Frame) -> None:
        """Take a frame in. Where there is no room, do what is to be done then."""
        full = len(self._waiting) >= self.limit
        spill = full and self._when_full == "spill"
        spooled = self._spooled(frame) if spill or not self._durable else ""
        self._captured(frame, spooled)
        if not (spooled or self._durable):
            reason = "the spool had no room for it when the run was ended"
            self._insist(lambda: self._ledger.dropped(frame.frame_id, reason))
            self._tell(Dropped(frame.frame_id, image_name(frame), 1, reason))
            return
        if full and self._when_full == "degrade":
            self._late.add(frame.frame_id)
        self._append(frame, spooled, wait=self._when_full == "block" or not spooled)

    def close(self) -> None:
        """No frame will come any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Have those that wait see that the run is to end."""
        with self._changed:
            self._changed.notify_all()

    def is_late(self, frame: Frame) -> bool:
        """Whether a frame found the queue full, and is to be degraded for that. May be asked once."""
        late = frame.frame_id in self._late
        self._late.discard(frame.frame_id)
        return late

    def __len__(self) -> int:
        """How many frames wait, in memory and in the spool."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames until there are no more, or `stop` is set."""
        while (waiting := self._next()) is not None:
            frame = self._unspooled(waiting) if isinstance(waiting, str) else waiting
            if frame:
                yield frame

    def _spooled(self, frame: Frame) -> str:
        """Have the frame in the spool, as soon as that has room; empty where the run ends before."""
        if not self._spool.has_room(frame.pixels.nbytes):
            self._tell(Alarm("spool", "the spool is full; frames wait, and the source may lose some", 1, 0))
        while not self._spool.has_room(frame.pixels.nbytes):
            if self._stop.wait(ROOM_SECONDS):
                return ""
        try:
            return self._insist(lambda: self._spool.put(frame))
        except SpoolError:
            return ""

    def _append(self, frame: Frame, spooled: str, *, wait: bool) -> None:
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: len(self._waiting) < self.limit or self._stop.is_set())
            in_memory = not spooled or self._in_memory < self.limit
            self._waiting.append(frame if in_memory else spooled)
            self._in_memory += in_memory
            self._changed.notify_all()
        if not in_memory:
            self._tell(Spilled(frame.frame_id, frame.pixels.nbytes))

    def _next(self) -> Frame | str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or self._stop.is_set())
            if self._stop.is_set() or not self._waiting:
                return None
            waiting = self._waiting.popleft()
            self._in_memory -= not isinstance(waiting, str)
            self._changed.notify_all()
            return waiting

    def _unspooled(self, spooled: str) -> Frame | None:
        """The frame of a spool file; None where it cannot be read, which is told."""
        try:
            frame = self._spool.get(spooled)
        except SpoolError as error:
            self._told_unreadable(spooled, str(error), gone=True)
            return None
        except ArchiveError as error:  # its key is missing: it stays in the spool
            self._spool.keep_failed(spooled)
            self._told_unreadable(spooled, str(error), gone=False)
            return None
        if spooled in self._left:  # it may have been killed before the ledger knew the frame
            self._left.discard(spooled)
            self._captured(frame, spooled)
        return frame

    def _captured(self, frame: Frame, spooled: str) -> None:
        image = image_name(frame)
        self._insist(lambda: self._ledger.captured(frame, image, spooled))
        self._tell(Captured(frame.frame_id, image, frame.sequence, frame.captured_at, frame.pixels.nbytes))

    def _told_unreadable(self, spooled: str, reason: str, *, gone: bool) -> None:
        frame_id, image = self._insist(lambda: self._ledger.unspooled(spooled, reason, gone=gone))
        if not frame_id:  # it was killed before the frame counted as captured
            self._insist(lambda: self._ledger.unreadable(spooled, reason))
        event: Event = Dropped(frame_id, image, 1, reason) if gone else Failed("spool", image, frame_id, reason)
        self._tell(event)
