"""The stages of the chain. Each takes an iterator and returns one, and holds a few frames at a time.

policy, guard = Policy(Setting(load_codec("qarv"), 60)), Guard(load_codec("jxl"))
fresh = unstored(choose(FolderSource("frames"), policy), archive)
keys = list(store(compress(fresh, guard), archive))
for verdict in detect(decode(read_back(keys, archive)), detector):
    print(verdict.image, verdict.defective)
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import islice

import pyarrow.compute as pc

from inspect_compress.codecs import Codec, load_codec
from inspect_compress.errors import ArchiveError, DetectorError, InspectCompressError
from inspect_compress.fidelity import psnr
from inspect_compress.guard import Floor, Guarded, encode_guarded
from inspect_compress.images import bit_depth, sample_bytes
from pipelines.archive import Archive, ArchivedFrame, FrameKey, commit_batches
from pipelines.detectors import Detector
from pipelines.detectors.scoring import scores_or_errors
from pipelines.frame import Frame
from pipelines.parallel import in_threads
from pipelines.policy import Request
from pipelines.sources import Failure, OnFailure, raise_failure

MAX_WORKERS = 4
"""Most frames that are compressed at once; more would hold too many large frames in memory."""
SCORED_AT_ONCE = 16
"""Frames that a detector is given in one call."""

OnTime = Callable[[str, float], None]
"""Is told the name of a stage, and the seconds that it took."""


def untimed(stage: str, seconds: float) -> None:
    """Take no note of a time."""


@dataclass(frozen=True)
class Verdict:
    """What the detector says about a frame. `image` is the frame's path in its source, or its id."""

    frame_id: str
    image: str
    score: float
    defective: bool


@dataclass(frozen=True)
class Guard:
    """What is demanded of every encoding before it is stored, and the lossless codec that takes over in the end."""

    lossless: Codec
    floor: Floor | None = None


def unstored(requests: Iterable[Request], archive: Archive) -> Iterator[Request]:
    """Leave out the frames that the archive holds already, encoded as asked for or as the guard fell back then."""
    stored, answers = archive.ids(), archive.answers()
    return (request for request in requests if request.key not in stored and request.key not in answers)


def compress(
    requests: Iterable[Request],
    guard: Guard | None,
    *,
    on_failure: OnFailure = raise_failure,
    on_time: OnTime = untimed,
) -> Iterator[ArchivedFrame]:
    """Encode frames on several cores, in their order, and measure each against its decoded image.

    With a guard, what fails its checks is encoded anew, and in the end without loss. A frame of which there is no
    sound encoding is handed to `on_failure`.
    """

    def work(request: Request) -> ArchivedFrame:
        with _timed("compress", on_time):
            return encode(request, guard)

    for request, result in in_threads(work, requests, workers()):
        if isinstance(result, InspectCompressError):
            on_failure(Failure(image_name(request.frame), request.frame.frame_id, result))
        else:
            yield result


def store(records: Iterable[ArchivedFrame], archive: Archive) -> Iterator[FrameKey]:
    """Commit records to the archive in batches; yield the key of each new one once it is committed."""
    for batch in commit_batches(records):
        yield from archive.commit(batch)


def read_back(
    keys: Collection[FrameKey],
    archive: Archive,
    *,
    between: tuple[datetime, datetime] | None = None,
    on_failure: OnFailure = raise_failure,
) -> Iterator[ArchivedFrame]:
    """Read records from the archive, in its order. Damaged and missing ones are handed to `on_failure`.

    Where they were stored `between` two times, only the files of that time are opened, unless one is not there.
    """
    wanted = set(keys)

    def damaged(key: FrameKey, error: ArchiveError) -> None:
        if key in wanted:
            wanted.remove(key)
            on_failure(Failure(key.frame_id, key.frame_id, error))

    for part in (_stored(between), None) if between else (None,):
        if wanted:
            named = pc.field("frame_id").isin([key.frame_id for key in wanted])
            for record in archive.frames(where=named if part is None else named & part, on_damaged=damaged):
                if record.key in wanted:
                    wanted.remove(record.key)
                    yield record
    for key in sorted(wanted):
        error = ArchiveError(f"{archive.uri}: frame {key.frame_id} is not there any more; run again")
        on_failure(Failure(key.frame_id, key.frame_id, error))


def decode(
    records: Iterable[ArchivedFrame], *, on_failure: OnFailure = raise_failure, on_time: OnTime = untimed
) -> Iterator[Frame]:
    """Turn records back into frames, each with the codec that its row names."""
    codec_of = cache(load_codec)

    def work(record: ArchivedFrame) -> Frame:
        with _timed("decode", on_time):
            return _decoded(record, codec_of(record.codec))

    for record, result in in_threads(work, records, workers()):
        if isinstance(result, InspectCompressError):
            on_failure(Failure(image_name(record), record.frame_id, result))
        else:
            yield result


def detect(
    frames: Iterable[Frame], detector: Detector, *, on_failure: OnFailure = raise_failure, on_time: OnTime = untimed
) -> Iterator[Verdict]:
    """Score frames; one at or above the detector's threshold is defective.

    A frame that the detector cannot score is handed to `on_failure`.
    """
    waiting = iter(frames)
    while batch := list(islice(waiting, SCORED_AT_ONCE)):
        with _timed("detect", on_time):
            scores = scores_or_errors(detector, [frame.pixels for frame in batch])
        for frame, score in zip(batch, scores, strict=True):
            if isinstance(score, DetectorError):
                on_failure(Failure(image_name(frame), frame.frame_id, score))
            else:
                yield Verdict(frame.frame_id, image_name(frame), score, bool(score >= detector.threshold))


def encode(request: Request, guard: Guard | None) -> ArchivedFrame:
    """Encode one frame and measure its fidelity.

    Raises VerificationError where the guard finds no sound encoding; without a guard, what the codec raises.
    """
    frame, pixels = request.frame, request.frame.pixels
    kept = _encoded(request, guard)
    asked = request.asked
    otherwise = [request.reason] if request.reason else []
    otherwise += map(str, kept.attempts)
    height, width = pixels.shape[:2]
    return ArchivedFrame(
        frame_id=frame.frame_id,
        captured_at=frame.captured_at,
        codec=kept.codec.codec_id,
        model=kept.codec.model,
        quality=kept.quality,
        width=width,
        height=height,
        channels=1 if pixels.ndim == 2 else pixels.shape[2],
        payload=kept.data,
        bit_depth=bit_depth(pixels),
        pixels_sha256=hashlib.sha256(sample_bytes(pixels)).hexdigest(),
        decoded_sha256=hashlib.sha256(sample_bytes(kept.reconstruction)).hexdigest(),
        sequence=frame.sequence,
        psnr=psnr(pixels, kept.reconstruction),
        line=frame.line,
        station=frame.station,
        product=frame.product,
        camera=frame.camera,
        meta=frame.meta,
        rule=request.rule,
        fallback="; ".join(otherwise),
        asked_codec=asked.codec.codec_id if otherwise else "",
        asked_model=asked.codec.model if otherwise else "",
        asked_quality=asked.quality if otherwise else 0,
    )


def image_name(frame: Frame | ArchivedFrame) -> str:
    """The frame's path in its source where it has one, else its id."""
    return frame.meta.get("path", frame.frame_id)


def workers() -> int:
    """How many frames are encoded or decoded at once."""
    return min(os.cpu_count() or 1, MAX_WORKERS)


@contextmanager
def _timed(stage: str, on_time: OnTime) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    on_time(stage, time.perf_counter() - begun)


def _stored(between: tuple[datetime, datetime]) -> pc.Expression:
    first, last = between
    return (pc.field("stored_at") >= first) & (pc.field("stored_at") <= last)


def _encoded(request: Request, guard: Guard | None) -> Guarded:
    codec, pixels, quality = request.codec, request.frame.pixels, request.quality
    if guard:
        return encode_guarded(codec, pixels, quality=quality, floor=guard.floor, lossless=guard.lossless)
    data = codec.encode(pixels, quality=quality)
    return Guarded(data, codec, quality, codec.decode(data))


def _decoded(record: ArchivedFrame, codec: Codec) -> Frame:
    pixels = codec.decode(record.payload)
    shape = (record.height, record.width) + ((record.channels,) if record.channels > 1 else ())
    if pixels.shape != shape:
        raise ArchiveError(f"frame {record.frame_id}: decodes to {pixels.shape}; the archive says {shape}")
    if (bit_depth(pixels) > 8) != (record.bit_depth > 8):
        raise ArchiveError(
            f"frame {record.frame_id}: decodes to {pixels.dtype} samples; the archive says {record.bit_depth} bits"
        )
    return Frame(
        pixels=pixels,
        frame_id=record.frame_id,
        captured_at=record.captured_at,
        sequence=record.sequence,
        line=record.line,
        station=record.station,
        product=record.product,
        camera=record.camera,
        meta=record.meta,
    )
