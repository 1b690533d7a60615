"""What one run did, summed up while it runs. The ledger, which outlives the run, is elsewhere."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from pipelines.archive import ArchivedFrame
from pipelines.flow.events import Captured, Degraded, Dropped, Event
from pipelines.sources import Failure
from pipelines.stages import Verdict, image_name


@dataclass(frozen=True)
class Fallback:
    """A frame that is stored otherwise than was asked for, how, and why."""

    image: str
    codec: str
    quality: int
    reason: str


class Tally:
    """Counts and sums of a run, and the latest `kept` of its verdicts, failures and fallbacks; all, where it is None.

    It observes the flow, and is told the rest. Several threads may use it at once.
    """

    def __init__(self, kept: int | None = None) -> None:
        self.captured = self.stored = self.already_stored = self.failed = self.dropped = self.degraded = 0
        self.source_bytes = self.raw_bytes = self.stored_bytes = 0
        self.rules: Counter[str] = Counter()
        self.verdicts: deque[Verdict] = deque(maxlen=kept)
        self.failures: deque[Failure] = deque(maxlen=kept)
        self.fallbacks: deque[Fallback] = deque(maxlen=kept)
        self._order: dict[str, int] = {}
        self._keeps_all = kept is None
        self._psnr_sum, self._psnr_count = 0.0, 0
        self._guard = Lock()

    def __call__(self, event: Event) -> None:
        """Count what is told on the way; a frame that is captured twice is one frame."""
        with self._guard:
            match event:
                case Captured(frame_id) if not self._keeps_all or frame_id not in self._order:
                    if self._keeps_all:
                        self._order[frame_id] = self.captured
                    self.captured += 1
                case Dropped(count=count):
                    self.dropped += count
                case Degraded():
                    self.degraded += 1

    def commit(self, new: int, old: int) -> None:
        """Count frames that were stored now, and those that the archive held already."""
        with self._guard:
            self.stored += new
            self.already_stored += old

    def fail(self, failure: Failure) -> None:
        """Count a frame with which something could not be done."""
        with self._guard:
            self.failed += 1
            self.failures.append(failure)

    def read(self, records: Iterable[tuple[ArchivedFrame, int]]) -> None:
        """Sum up rows that were read back, each with the length of its payload."""
        with self._guard:
            for record, size in records:
                self._read(record, size)

    def judge(self, verdicts: Iterable[Verdict]) -> None:
        """Keep what the detector said."""
        with self._guard:
            self.verdicts.extend(verdicts)

    @property
    def mean_psnr(self) -> float | None:
        """In dB, over the frames that were changed at all; None where none was."""
        return self._psnr_sum / self._psnr_count if self._psnr_count else None

    def in_order(self) -> list[Verdict]:
        """The verdicts in the order of capture, as far as that is known."""
        return sorted(self.verdicts, key=lambda verdict: self._order.get(verdict.frame_id, len(self._order)))

    def _read(self, record: ArchivedFrame, size: int) -> None:
        self.source_bytes += int(record.meta.get("file_bytes", 0))
        self.raw_bytes += record.width * record.height * record.channels * (2 if record.bit_depth > 8 else 1)
        self.stored_bytes += size
        if record.psnr is not None:
            self._psnr_sum += record.psnr
            self._psnr_count += 1
        if record.rule:
            self.rules[record.rule] += 1
        if record.fallback:
            self.fallbacks.append(Fallback(image_name(record), record.codec, record.quality, record.fallback))
