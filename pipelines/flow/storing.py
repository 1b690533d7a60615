"""Encoded frames into the archive: in commits of a size, tried again until they succeed, and noted in the ledger.

The order is what makes a crash harmless: the commit, then the ledger, and only then the spooled file goes.
"""

import time
from collections.abc import Iterator, Sequence
from queue import Empty, Queue

from inspect_compress.errors import ArchiveError, InspectCompressError
from pipelines.archive import COMMIT_BYTES, COMMIT_FRAMES, Archive, ArchivedFrame
from pipelines.flow.events import Events, Failed, Stored, Timed
from pipelines.flow.insisting import Insisting
from pipelines.flow.ledger import Ledger
from pipelines.flow.spool import Spool, token
from pipelines.flow.tally import Tally
from pipelines.sources import Failure
from pipelines.stages import image_name

HELD_RECORDS = 16
"""Most encoded frames that wait to be gathered into a commit."""


class Storing:
    """Commits what comes through `records`, until None does. A commit is made when enough has come together, or
    `seconds` after its first frame (None: not before).
    """

    def __init__(
        self,
        *,
        archive: Archive,
        ledger: Ledger,
        spool: Spool,
        insisting: Insisting,
        tally: Tally,
        tell: Events,
        seconds: float | None,
    ) -> None:
        self.records: Queue[ArchivedFrame | None] = Queue(HELD_RECORDS)
        self._archive, self._ledger, self._spool = archive, ledger, spool
        self._insist, self._tally, self._tell = insisting, tally, tell
        self._seconds = seconds
        self._ended = False

    def run(self) -> None:
        """Store until the end. Raises what made storing fail for good; the next run stores what comes after."""
        try:
            for batch in self._batches():
                self._store(batch)
        finally:
            while not self._ended:
                self._ended = self.records.get() is None

    def _batches(self) -> Iterator[list[ArchivedFrame]]:
        batch: list[ArchivedFrame] = []
        held, due = 0, 0.0
        while True:
            wait = max(0.0, due - time.monotonic()) if batch and self._seconds is not None else None
            try:
                record = self.records.get(timeout=wait)
            except Empty:
                yield batch
                batch, held = [], 0
                continue
            if record is None:
                self._ended = True
                break
            due = due if batch else time.monotonic() + (self._seconds or 0)
            batch.append(record)
            held += len(record.payload)
            if len(batch) == COMMIT_FRAMES or held >= COMMIT_BYTES:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _store(self, batch: Sequence[ArchivedFrame]) -> None:
        try:
            self._commit(batch)
        except InspectCompressError:
            raise
        except Exception as error:  # something in a row that no table can hold: it costs this frame, not the line
            if len(batch) > 1:
                for record in batch:
                    self._store([record])
            else:
                self._fail(batch[0], f"cannot be stored: {type(error).__name__}: {error}")

    def _commit(self, batch: Sequence[ArchivedFrame]) -> None:
        begun, clock = time.time(), time.perf_counter()
        new = set(self._insist(lambda: self._archive.commit(batch)))
        self._tell(Timed("commit", time.perf_counter() - clock))
        images = [image_name(record) for record in batch]
        self._insist(lambda: self._ledger.stored(batch, images, begun=begun, done=time.time()))
        for record in batch:
            self._spool.remove(token(record.frame_id))
        self._tally.commit(len(new), len({record.key for record in batch}) - len(new))
        for record in batch:
            if record.key in new:
                self._tell(_stored(record))

    def _fail(self, record: ArchivedFrame, reason: str) -> None:
        self._insist(lambda: self._ledger.failed(record.frame_id, reason))
        self._spool.keep_failed(token(record.frame_id))
        self._tally.fail(Failure(image_name(record), record.frame_id, ArchiveError(reason)))
        self._tell(Failed("commit", image_name(record), record.frame_id, reason))


def _stored(record: ArchivedFrame) -> Stored:
    return Stored(
        frame_id=record.frame_id,
        image=image_name(record),
        codec=record.codec,
        model=record.model,
        quality=record.quality,
        psnr=record.psnr,
        width=record.width,
        height=record.height,
        channels=record.channels,
        bytes=len(record.payload),
        rule=record.rule,
        fallback=record.fallback,
        captured_at=record.captured_at,
    )
