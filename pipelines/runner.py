"""One run of the chain: capture, compress, store, read back, decode, detect. Printing is done elsewhere.

Everything is stored before the first decoded frame is inspected, and a detector that fails on an original
changes only its quality: no detector stands between a frame and the archive. What the archive holds already is
neither compressed nor stored again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import length_hint
from threading import Event as Flag
from typing import Any, Protocol, TypeVar

import numpy as np

from inspect_compress.codecs import load_codec
from inspect_compress.guard import BEST, Floor
from inspect_compress.images import Image, read_image
from pipelines.archive import Archive, ArchivedFrame, FrameKey
from pipelines.config import CompressConfig, DetectConfig, LineConfig
from pipelines.datasets import Dataset, read_dataset, split_dataset
from pipelines.detectors import Detector, load_detector
from pipelines.detectors.depth import EightBitDetector
from pipelines.detectors.threshold import settle_threshold
from pipelines.flow.events import Events, Finished, Observer, Started
from pipelines.frame import Frame
from pipelines.line_codec import line_codec
from pipelines.policy import Policy, Request, Setting, choose
from pipelines.sources import Failure, Source, open_source
from pipelines.stages import (
    Guard,
    Verdict,
    compress,
    decode,
    detect,
    image_name,
    read_back,
    store,
    unstored,
)

SEED = 0
"""Of the dataset's splits and the detector's training: a run can be repeated."""

T = TypeVar("T")


class Track(Protocol):
    """Shows how far an iterable has come; `total` is None where that is not known."""

    def __call__(self, items: Iterable[T], what: str, total: int | None) -> Iterable[T]:
        """Return `items`, watched."""
        ...


def untracked(items: Iterable[T], what: str, total: int | None) -> Iterable[T]:
    """Show nothing."""
    return items


@dataclass(frozen=True)
class Fallback:
    """A frame that the guard stored otherwise than was asked for, how, and why."""

    image: str
    codec: str
    quality: int
    reason: str


@dataclass(frozen=True)
class LineResult:
    """What a run did. Bytes are those of the frames that were read back: their files, pixels, payloads.

    `mean_psnr` is in dB over the frames that were changed at all; None where none was. `threshold` is None
    where nothing was inspected. `rules` counts the frames by the rule that chose their quality; `fallbacks` are
    those that are stored otherwise than was asked for.
    """

    captured: int
    stored: int
    already_stored: int
    source_bytes: int
    raw_bytes: int
    stored_bytes: int
    mean_psnr: float | None
    threshold: float | None
    verdicts: tuple[Verdict, ...]
    failures: tuple[Failure, ...]
    archive: str
    rules: dict[str, int]
    fallbacks: tuple[Fallback, ...]

    def to_dict(self) -> dict[str, Any]:
        """The result as it is printed by `--json`."""
        return {
            "frames": {
                "captured": self.captured,
                "stored": self.stored,
                "already_stored": self.already_stored,
                "failed": len(self.failures),
            },
            "bytes": {
                "source_files": self.source_bytes,
                "raw": self.raw_bytes,
                "stored": self.stored_bytes,
            },
            "mean_psnr": self.mean_psnr,
            "rules": self.rules,
            "fallbacks": [vars(fallback) for fallback in self.fallbacks],
            "detections": [vars(verdict) for verdict in self.verdicts],
            "failures": [{"image": f.image, "reason": str(f.error)} for f in self.failures],
            "archive": self.archive,
        }


def run_line(
    config: LineConfig,
    *,
    source: Source | None = None,
    observers: Sequence[Observer] = (),
    stop: Flag | None = None,
    track: Track = untracked,
) -> LineResult:
    """Run the chain over what the source holds; where it is followed, until `stop` is set.

    `source` stands in for the one that `config` names. `observers` are told what happens. Frames that fail are in
    the result's `failures`; the others are stored. Raises InspectCompressError where the source, archive, codec or
    detector as a whole cannot be used.
    """
    failures: list[Failure] = []
    tell = Events(observers)
    if source is None:
        source = open_source(config.source, on_failure=failures.append, stop=stop)
    policy, guard = _policy(config), _guard(config.compress)
    dataset = split_dataset(read_dataset(config.detect.train), seed=SEED) if config.detect else None
    archive = Archive(config.archive.uri)
    detector = _trained(config.detect, dataset, track) if config.detect and dataset else None

    tell(Started("", config.source.line, policy.default.codec.codec_id, policy.default.codec.model))
    captured: dict[FrameKey, str] = {}
    made: dict[FrameKey, FrameKey] = {}
    frames = track(source, "storing", length_hint(source) or None)
    fresh = unstored(_noted(choose(frames, policy, detector), captured), archive)
    records = compress(fresh, guard, on_failure=failures.append)
    stored = sum(1 for _ in store(_answering(records, made), archive))

    lost = {failure.frame_id for failure in failures}
    rows = archive.answers() | made
    keys = [rows.get(key, key) for key in captured if key.frame_id not in lost]
    totals = _Totals()
    back = track(read_back(keys, archive, on_failure=failures.append), "reading back", len(keys))
    decoded = decode(totals.counted(back), on_failure=failures.append)
    verdicts = list(detect(decoded, detector, on_failure=failures.append)) if detector else _drained(decoded)

    tell(Finished(len(captured), stored, len(keys) - stored, len(failures), 0, 0, 0))
    order = {key.frame_id: position for position, key in enumerate(captured)}
    return LineResult(
        captured=len(captured),
        stored=stored,
        already_stored=len(keys) - stored,
        source_bytes=totals.source_bytes,
        raw_bytes=totals.raw_bytes,
        stored_bytes=totals.stored_bytes,
        mean_psnr=float(np.mean(totals.psnr)) if totals.psnr else None,
        threshold=detector.threshold if detector else None,
        verdicts=tuple(sorted(verdicts, key=lambda verdict: order[verdict.frame_id])),
        failures=tuple(_named(failures, captured)),
        archive=archive.uri,
        rules=dict(sorted(totals.rules.items())),
        fallbacks=tuple(totals.fallbacks),
    )


class _Totals:
    """Sums over the records that pass."""

    def __init__(self) -> None:
        self.source_bytes = self.raw_bytes = self.stored_bytes = 0
        self.psnr: list[float] = []
        self.rules: Counter[str] = Counter()
        self.fallbacks: list[Fallback] = []

    def counted(self, records: Iterable[ArchivedFrame]) -> Iterator[ArchivedFrame]:
        for record in records:
            self.source_bytes += int(record.meta.get("file_bytes", 0))
            self.raw_bytes += record.width * record.height * record.channels * (2 if record.bit_depth > 8 else 1)
            self.stored_bytes += len(record.payload)
            if record.psnr is not None:
                self.psnr.append(record.psnr)
            if record.rule:
                self.rules[record.rule] += 1
            if record.fallback:
                self.fallbacks.append(Fallback(image_name(record), record.codec, record.quality, record.fallback))
            yield record


def _policy(config: LineConfig) -> Policy:
    codec, lossless = line_codec(config), Setting(load_codec(config.compress.lossless), BEST)
    rules = config.policy

    def setting(quality: int | str) -> Setting:
        return Setting(codec, quality) if isinstance(quality, int) else lossless

    return Policy(
        default=Setting(codec, config.compress.quality),
        products={name: setting(quality) for name, quality in rules.products.items()},
        suspect=None if rules.suspect is None else setting(rules.suspect),
        good=None if rules.good is None else setting(rules.good),
        audit=lossless if rules.audit_every else None,
        audit_every=rules.audit_every or 1,
    )


def _guard(config: CompressConfig) -> Guard | None:
    if not config.verify:
        return None
    return Guard(load_codec(config.lossless), Floor(config.min_psnr, config.min_ms_ssim))


def _noted(requests: Iterable[Request], captured: dict[FrameKey, str]) -> Iterator[Request]:
    """Note what is asked for, and the name of the frame, as each request passes."""
    for request in requests:
        captured[request.key] = image_name(request.frame)
        yield request


def _answering(records: Iterable[ArchivedFrame], made: dict[FrameKey, FrameKey]) -> Iterator[ArchivedFrame]:
    """Note as which row each request is stored."""
    for record in records:
        made[record.asked] = record.key
        yield record


def _named(failures: Iterable[Failure], captured: dict[FrameKey, str]) -> Iterator[Failure]:
    """The failures with the image's name, where only the frame's id was known."""
    names = {key.frame_id: name for key, name in captured.items()}
    for failure in failures:
        yield replace(failure, image=names.get(failure.frame_id, failure.image))


def _drained(frames: Iterable[Frame]) -> list[Verdict]:
    """Decode every frame, as proof that it can be, and inspect none."""
    for _ in frames:
        pass
    return []


def _trained(config: DetectConfig, dataset: Dataset, track: Track) -> Detector:
    """The detector, fit on the train split, its threshold its own or fixed on the calibration split."""
    detector = EightBitDetector(load_detector(config.detector))
    for images, labels in track([_pixels(dataset, "train", track)], "training the detector", None):
        detector.fit(images, labels, seed=SEED)
    images, labels = _pixels(dataset, "calibration", track)
    detector.threshold = settle_threshold(
        detector, detector.score(images), labels, target_far=config.target_false_alarm_rate
    )
    return detector


def _pixels(dataset: Dataset, split: str, track: Track) -> tuple[list[Image], np.ndarray]:
    """The images of one split, and a bool array that is True where one is defective."""
    items = [item for item in dataset.items if item.split == split]
    images = [read_image(item.image) for item in track(items, f"reading the {split} split", len(items))]
    return images, np.array([item.is_defective for item in items], dtype=np.bool_)
