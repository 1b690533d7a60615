"""What is stored is read back, decoded and judged. It holds up no commit: the ledger keeps what is still to be read.

A verdict is stored and told before the ledger forgets its frame: after a crash it may come twice, and is never lost.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from inspect_compress.errors import ArchiveError
from pipelines.archive import Archive, ArchivedFrame, JudgedFrame, Verdicts
from pipelines.detectors import Detector
from pipelines.flow.events import Events, Failed, Judged, Timed
from pipelines.flow.insisting import Insisting
from pipelines.flow.ledger import Ledger, Unchecked
from pipelines.flow.tally import Tally
from pipelines.progress import Track
from pipelines.sources import Failure
from pipelines.stages import Verdict, decode, detect, read_back

MARGIN = timedelta(seconds=2)
"""How far the times of the ledger and of the archive's rows may be apart."""
WAKE_SECONDS = 0.5
"""How often it is looked whether something is to be read back."""


class Inspection:
    """Reads back what the ledger says was stored, `at_once` frames at a time, and lets the detector judge it.

    With `patient`, a file of the archive that cannot be read costs the frames in it; otherwise it ends the run.
    """

    def __init__(
        self,
        *,
        archive: Archive,
        ledger: Ledger,
        detector: Detector | None,
        detector_name: str,
        insisting: Insisting,
        tally: Tally,
        tell: Events,
        stop: threading.Event,
        track: Track,
        at_once: int,
        patient: bool,
    ) -> None:
        self.all_stored = threading.Event()
        self._archive, self._ledger, self._verdicts = archive, ledger, Verdicts(archive.uri)
        self._detector, self._detector_name = detector, detector_name
        self._insist, self._tally, self._tell, self._stop = insisting, tally, tell, stop
        self._track, self._at_once, self._patient = track, at_once, patient

    def run(self) -> None:
        """Read back until everything was stored and read, or the run is to end."""
        while not self._stop.is_set():
            last = self.all_stored.is_set()
            if rows := self._insist(lambda: self._ledger.unchecked(self._at_once)):
                self._check(rows)
            elif last:
                return
            else:
                self._stop.wait(WAKE_SECONDS)

    def _check(self, rows: Sequence[Unchecked]) -> None:
        try:
            self._insist(lambda: self._once(rows))
        except _EndedError:
            return
        except ArchiveError as error:
            if not self._patient or self._stop.is_set():
                raise
            if len(rows) > 1:
                for row in rows:
                    self._check([row])
            else:
                unread = _failure(rows[0], error)
                self._insist(lambda: self._conclude(rows, {}, [], [("read back", unread)]))

    def _once(self, rows: Sequence[Unchecked]) -> None:
        """One attempt: nothing of it counts unless all of it succeeds."""
        failures: list[tuple[str, Failure]] = []
        records: dict[str, tuple[ArchivedFrame, int]] = {}

        def failed(stage: str) -> Callable[[Failure], None]:
            return lambda failure: failures.append((stage, failure))

        begun = time.perf_counter()
        keys = [row.key for row in rows]
        back = read_back(keys, self._archive, between=_between(rows), on_failure=failed("read back"))
        watched = self._track(self._noted(back, records), "reading back", len(rows))
        frames = decode(watched, on_failure=failed("decode"), on_time=self._timed)
        if self._detector:
            verdicts = list(detect(frames, self._detector, on_failure=failed("detect"), on_time=self._timed))
        else:
            verdicts = []
            for _ in frames:  # decoded as proof that they can be
                pass
        self._timed("read back", time.perf_counter() - begun)
        self._conclude(rows, records, verdicts, failures)

    def _conclude(
        self,
        rows: Sequence[Unchecked],
        records: Mapping[str, tuple[ArchivedFrame, int]],
        verdicts: Sequence[Verdict],
        failures: Sequence[tuple[str, Failure]],
    ) -> None:
        """Store and tell what came of rows, and have the ledger forget them."""
        images = {row.key.frame_id: row.image for row in rows}
        self._verdicts.append([self._judged(verdict, records[verdict.frame_id][0]) for verdict in verdicts])
        for stage, failure in failures:
            failure = replace(failure, image=images[failure.frame_id])
            self._ledger.not_checked(failure.frame_id, f"{stage}: {failure.error}")
            self._tally.fail(failure)
            self._tell(Failed(stage, failure.image, failure.frame_id, str(failure.error)))
        for verdict in verdicts:
            threshold = self._detector.threshold if self._detector else 0.0
            self._tell(
                Judged(
                    verdict.frame_id, verdict.image, verdict.score, threshold, verdict.defective, self._detector_name
                )
            )
        self._ledger.checked([row.key for row in rows])
        self._tally.read(records.values())
        self._tally.judge(verdicts)

    def _noted(
        self, records: Iterable[ArchivedFrame], noted: dict[str, tuple[ArchivedFrame, int]]
    ) -> Iterator[ArchivedFrame]:
        """Note what passes, with its payload's length instead of the payload, until the run is to end."""
        for record in records:
            if self._stop.is_set():
                raise _EndedError
            noted[record.frame_id] = replace(record, payload=b""), len(record.payload)
            yield record

    def _judged(self, verdict: Verdict, record: ArchivedFrame) -> JudgedFrame:
        return JudgedFrame(
            *record.key,
            line=record.line,
            captured_at=record.captured_at,
            detector=self._detector_name,
            score=verdict.score,
            threshold=self._detector.threshold if self._detector else 0.0,
            defective=verdict.defective,
            judged_at=datetime.now(UTC),
        )

    def _timed(self, stage: str, seconds: float) -> None:
        self._tell(Timed(stage, seconds))


class _EndedError(Exception):
    """The run is to end; what was begun is begun anew by the next one."""


def _failure(row: Unchecked, error: ArchiveError) -> Failure:
    return Failure(row.image, row.key.frame_id, error)


def _between(rows: Sequence[Unchecked]) -> tuple[datetime, datetime] | None:
    """The times between which all rows were stored; None where that is not known of each."""
    begun = [row.begun for row in rows if row.begun is not None]
    done = [row.done for row in rows if row.done is not None]
    if len(begun) < len(rows):
        return None
    return datetime.fromtimestamp(min(begun), UTC) - MARGIN, datetime.fromtimestamp(max(done), UTC) + MARGIN
