"""The stages of a line at work, each in a thread, with a bounded queue between any two. What they do is in `stages`.

    capture ─► intake ─► choose, compress ─► records ─► commit ─► ledger ─► read back, decode, detect

What is in hand when a run ends, however it ends, is in the archive, in the spool, or still in the source.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Container, Mapping
from operator import length_hint

from inspect_compress.errors import InspectCompressError
from pipelines.archive import Archive, FrameKey
from pipelines.archive.departures import Departures
from pipelines.chain import Chain
from pipelines.flow.events import Alarm, Degraded, Events, Failed, Gap, Stalled, Timed, Waiting
from pipelines.flow.insisting import Insisting
from pipelines.flow.inspection import Inspection
from pipelines.flow.intake import Intake
from pipelines.flow.ledger import Ledger
from pipelines.flow.settings import FlowConfig
from pipelines.flow.spool import Spool, token
from pipelines.flow.storing import HELD_RECORDS, Storing
from pipelines.flow.tally import Tally
from pipelines.policy import Request, choose, degrade
from pipelines.progress import Track
from pipelines.sources import Failure, Source, Stall, missed
from pipelines.stages import SCORED_AT_ONCE, compress, image_name

_log = logging.getLogger(__name__)

END_SECONDS = 8.0
"""How long a run that is to end waits for what is in hand. What is not done then is taken up by the next run."""
JOIN_SECONDS = 0.1
"""How often it is looked whether a stage has ended, or the run is to end."""
READ_AT_ONCE = 100_000
"""Rows that a run which comes to an end reads back in one pass over the archive."""
FOLD_SECONDS = 3600.0
"""How often it is looked whether rows of the ledger are old enough to be summed up."""
WATCH_SECONDS = 1.0
"""How often the queues are told about."""


class Flow:
    """One run of a line, from its first frame until its source ends or `stop` is set.

    `durable` says that the source can be read again after a crash, `follows` that it has no end of its own.
    """

    def __init__(
        self,
        chain: Chain,
        settings: FlowConfig,
        *,
        archive: Archive,
        ledger: Ledger,
        spool: Spool,
        tally: Tally,
        tell: Events,
        stop: threading.Event,
        track: Track,
        durable: bool,
        follows: bool,
    ) -> None:
        self._chain, self._archive, self._ledger, self._spool = chain, archive, ledger, spool
        self._tally, self._tell, self._stop, self._track = tally, tell, stop, track
        self._follows, self._stall_after = follows, settings.stall_after
        self._ledger_seconds = settings.ledger_days * 86_400
        self._insist = Insisting(None if follows else settings.retry_seconds, stop, tell)
        self._when_full = settings.when_full or ("block" if durable else "spill")
        self._intake = Intake(
            limit=settings.queue,
            when_full=self._when_full,
            durable=durable,
            spool=spool,
            ledger=ledger,
            tell=tell,
            insisting=self._insist,
            stop=stop,
        )
        self._storing = Storing(
            archive=archive,
            ledger=ledger,
            spool=spool,
            insisting=self._insist,
            tally=tally,
            tell=tell,
            seconds=settings.commit_seconds if follows else None,
        )
        self._inspection = Inspection(
            archive=Archive(archive.uri, create=False, keys=archive.keys),
            ledger=ledger,
            detector=chain.detector,
            detector_name=chain.detector_name,
            insisting=self._insist,
            tally=tally,
            tell=tell,
            stop=stop,
            track=track,
            at_once=SCORED_AT_ONCE if follows else READ_AT_ONCE,
            patient=follows,
        )
        self._last_frame = time.monotonic()
        self._known: tuple[Container[FrameKey], Mapping[FrameKey, FrameKey]] = ((), {})
        self._durable = durable
        self._let_go: Container[str] = ()
        self._errors: list[InspectCompressError] = []
        self._until = math.inf
        self._over = threading.Event()

    def run(self, source: Source) -> None:
        """Run until the end. Raises what ended a stage for good; the others have ended in order then."""
        left = self._spool.take_over()
        self._ledger.take_over(left, self._spool.alive)
        self._intake.take_up(left)
        capture = self._start(lambda: self._capture(source), "capture")
        storing = [self._start(self._compress, "compress"), self._start(self._storing.run, "commit")]
        inspect = self._start(self._inspection.run, "inspect") if self._follows else None
        watch = self._start(self._watch, "watch")
        for thread in [capture, *storing]:
            self._join(thread)
        if not (self._follows or self._stop.is_set()):
            self._ledger.mark_lost(self._spool.alive)
        self._inspection.all_stored.set()
        self._join(inspect or self._start(self._inspection.run, "inspect"))
        self._over.set()
        self._join(watch)
        if self._errors:
            raise self._errors[0]

    def source_failed(self, failure: Failure) -> None:
        """Note something in the source that is no frame. Sources call this."""
        self._insist(lambda: self._ledger.unreadable(failure.image, str(failure.error)))
        self._failed("capture", failure)

    def source_stalls(self, stall: Stall) -> None:
        """Tell that the source waits. Sources call this."""
        self._tell(Alarm("source", stall.reason, stall.seconds, 0))

    def _start(self, work: Callable[[], None], name: str) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                if not self._over.is_set():
                    self._errors.append(_in_words(name, error))
                self._end()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _end(self) -> None:
        self._stop.set()
        self._intake.wake()

    def _join(self, thread: threading.Thread) -> None:
        """Wait for a thread; once the run is to end, only until all have had their time."""
        while thread.is_alive() and time.monotonic() < self._until:
            thread.join(JOIN_SECONDS)
            if self._stop.is_set() and self._until == math.inf:
                self._intake.wake()
                self._until = time.monotonic() + END_SECONDS

    def _capture(self, source: Source) -> None:
        last = 0
        try:
            for frame in self._track(source, "storing", length_hint(source) or None):
                self._last_frame = time.monotonic()
                if count := missed(last, frame.sequence):
                    self._gap(count, last, frame.sequence)
                last = frame.sequence
                self._intake.put(frame)
                if self._stop.is_set():
                    return
        finally:
            self._intake.close()

    def _gap(self, count: int, after: int, before: int) -> None:
        self._insist(lambda: self._ledger.gap(count, after, before))
        self._tell(Gap(count, after, before))

    def _compress(self) -> None:
        try:
            self._known = self._insist(lambda: (self._archive.ids(), self._archive.answers()))
            if self._durable:  # others show no frame twice
                self._let_go = self._insist(Departures(self._archive.uri).frame_ids)
            requests = choose(self._intake, self._chain.policy, self._chain.detector)
            if self._when_full == "degrade":
                requests = degrade(requests, self._intake.is_late, self._chain.late)
            for record in compress(
                filter(self._is_new, requests),
                self._chain.guard,
                on_failure=self._not_compressed,
                on_time=lambda stage, seconds: self._tell(Timed(stage, seconds)),
            ):
                self._storing.records.put(record)
        finally:
            self._storing.records.put(None)

    def _is_new(self, request: Request) -> bool:
        """Whether the archive lacks what is asked for; what it has, or had until it was let go, is noted."""
        ids, answers = self._known
        row = request.key if request.key in ids else answers.get(request.key)
        gone = row is None and request.frame.frame_id in self._let_go
        if gone:
            row = request.key
        if row is None:
            if request.instead_of:
                asked, codec = request.instead_of.quality, request.codec.codec_id
                self._tell(Degraded(request.frame.frame_id, asked, request.quality, codec))
            return True
        image = image_name(request.frame)
        self._insist(lambda: self._ledger.already_stored(row, image, check=not (self._follows or gone)))
        self._spool.remove(token(row.frame_id))
        self._tally.commit(0, 1)
        return False

    def _not_compressed(self, failure: Failure) -> None:
        self._insist(lambda: self._ledger.failed(failure.frame_id, str(failure.error)))
        self._spool.keep_failed(token(failure.frame_id))
        self._failed("compress", failure)

    def _failed(self, stage: str, failure: Failure) -> None:
        self._tally.fail(failure)
        self._tell(Failed(stage, failure.image, failure.frame_id, str(failure.error)))

    def _watch(self) -> None:
        told, due = False, 0.0
        while not self._over.wait(WATCH_SECONDS):
            if time.monotonic() >= due and not self._insist(self._fold):
                due = time.monotonic() + FOLD_SECONDS
            self._tell(Waiting("frames", len(self._intake), self._intake.limit))
            self._tell(Waiting("records", self._storing.records.qsize(), HELD_RECORDS))
            silent = time.monotonic() - self._last_frame
            stalled = self._follows and silent >= self._stall_after
            if stalled and not told:
                self._tell(Stalled(silent))
            told = stalled

    def _fold(self) -> int:
        return self._ledger.fold(time.time() - self._ledger_seconds)


def _in_words(stage: str, error: Exception) -> InspectCompressError:
    """An error that can be shown: one of a library or of a plant's own package names the stage."""
    if isinstance(error, InspectCompressError):
        return error
    _log.error("the stage %s failed", stage, exc_info=error)
    return InspectCompressError(f"{stage}: {type(error).__name__}: {' '.join(str(error).split())}")
