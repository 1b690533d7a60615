"""An archive encoded again, with another codec, model or quality, into another archive. The first stays as it is."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inspect_compress.codecs import check_quality, load_codec
from inspect_compress.errors import ArchiveError, ConfigError, InspectCompressError
from pipelines.archive import Archive, ArchivedFrame, FrameKey
from pipelines.archive.schema import frame_of, key_of
from pipelines.archive.snapshot import Slice, Snapshot
from pipelines.archive.verify import sound_picture
from pipelines.config import CompressConfig
from pipelines.engines.engine import Engine
from pipelines.frame import Frame
from pipelines.governance.audit import AuditLog, who
from pipelines.governance.encryption import keys_at_hand
from pipelines.policy import Request
from pipelines.progress import Track, untracked
from pipelines.stages import Guard, encode

RULE = "reencode"
"""What the new rows name as the rule that chose their quality, and the audit log as what was done."""
FROM = "reencoded_from"
"""The key in a new row's `meta` for the codec, model and quality of the row that it was made from."""


@dataclass(frozen=True)
class Reencoding:
    """What is asked for. `model` is the beginning of a fingerprint, empty for the codec's own; `keys` a key file."""

    source: str
    target: str
    codec: str
    quality: int
    model: str = ""
    keys: Path | None = None


@dataclass(frozen=True)
class Failure:
    """A row that no sound encoding was made of, by its key, or a `file` that cannot be read; and why."""

    reason: str
    key: FrameKey | None = None
    file: str = ""


@dataclass(frozen=True)
class Reencoded:
    """What was done. Bytes are of the payloads of the frames that were stored now, before and after."""

    frames: int
    already_stored: int
    fallbacks: int
    bytes_before: int
    bytes_after: int
    failures: tuple[Failure, ...]

    def to_dict(self) -> dict[str, Any]:
        """As it is printed by `--json`."""
        failures = [
            {"reason": failure.reason} | (failure.key._asdict() if failure.key else {"file": failure.file})
            for failure in self.failures
        ]
        return {
            "frames": {
                "encoded": self.frames,
                "already_stored": self.already_stored,
                "fallbacks": self.fallbacks,
                "failed": len(failures),
            },
            "bytes": {"before": self.bytes_before, "after": self.bytes_after},
            "failures": failures,
        }


def reencode_archive(asked: Reencoding, engine: Engine, *, track: Track = untracked) -> Reencoded:
    """Decode each frame, encode it anew, compare, and store it in the target, in the order of the source.

    Where the source has a frame more than once, the encoding nearest to the original is taken. What the target holds
    already is left as it is, so that a run that was cut off goes on. The target's audit log gets an entry. Raises
    ConfigError for settings that cannot be used, ArchiveError for an archive that cannot, EngineError for work that
    cannot be done.
    """
    quality, codec = check_quality(asked.quality), load_codec(asked.codec, model=asked.model)
    snapshot = Snapshot(asked.source)
    if "://" not in asked.target and Path(asked.target).resolve() == Path(snapshot.uri).resolve():
        raise ConfigError(f"--to {asked.target}: is the archive itself; name another place")
    target = Archive(asked.target, keys=keys_at_hand(asked.keys))
    stored, answers = target.ids(), target.answers()
    best = _best_rows(snapshot)

    def is_new(frame_id: str) -> bool:
        key = FrameKey(frame_id, codec.codec_id, codec.model, quality)
        return key not in stored and key not in answers

    fresh = [name for name in best.rows if is_new(name)]
    slices = _slices(best.rows[name] for name in fresh)
    job = Reencode(snapshot.uri, snapshot.version, replace(asked, model=codec.model))
    totals = _Totals(best.failures)
    answered = track(engine.map(job, slices), "encoding again", len(slices))
    target.append(totals.counted(one for answer in answered for one in answer))
    done = Reencoded(
        frames=totals.frames,
        already_stored=len(best.rows) - len(fresh),
        fallbacks=totals.fallbacks,
        bytes_before=totals.before,
        bytes_after=totals.after,
        failures=tuple(totals.failures),
    )
    details = {"source": asked.source, "version": snapshot.version, "codec": codec.codec_id, "model": codec.model}
    details |= {"quality": quality, "frames": done.frames, "failed": len(done.failures)}
    AuditLog(asked.target).append("frames encoded again", by=who(), details=details)
    return done


@dataclass(frozen=True)
class Made:
    """A new record, and the bytes of the payload that it was made from."""

    record: ArchivedFrame
    before: int


@dataclass(frozen=True)
class Reencode:
    """The job: new records of the rows of a slice. Keys are read where the work is done, and not sent there."""

    uri: str
    version: int
    asked: Reencoding

    def start(self) -> Callable[[Slice], list[Made | Failure]]:
        """Open the archive, and load the keys and the codecs."""
        snapshot, keys = Snapshot(self.uri, self.version), keys_at_hand(self.asked.keys)
        codec = load_codec(self.asked.codec, model=self.asked.model)
        guard = Guard(load_codec(CompressConfig().lossless))

        def made(row: Mapping[str, Any]) -> Made | Failure:
            key = key_of(row)
            try:
                frame = _frame(row, sound_picture(row, keys))
                record = encode(Request(frame, codec, self.asked.quality, RULE), guard)
            except InspectCompressError as error:
                return Failure(" ".join(str(error).split()), key=key)
            except Exception as error:  # a codec of another package may raise anything; the other frames go on
                return Failure(f"{type(error).__name__}: {' '.join(str(error).split())}", key=key)
            return Made(record, row["bytes"])

        def work(part: Slice) -> list[Made | Failure]:
            answers: list[Made | Failure] = []
            try:
                for row in snapshot.rows(part):
                    answers.append(made(row))
            except ArchiveError as error:
                answers.append(Failure(str(error), file=part.file))
            return answers

        return work


def _frame(row: Mapping[str, Any], pixels: Any) -> Frame:
    record = frame_of(row)
    made_from = " ".join(filter(None, [record.codec, record.model, f"quality {record.quality}"]))
    return Frame(
        pixels=pixels,
        frame_id=record.frame_id,
        captured_at=record.captured_at,
        line=record.line,
        station=record.station,
        product=record.product,
        camera=record.camera,
        meta=record.meta | {FROM: made_from},
        sequence=record.sequence,
    )


@dataclass(frozen=True)
class _Best:
    """The row to take of each frame: its slice and its place in that; and the files that cannot be read."""

    rows: dict[str, tuple[Slice, int]]
    failures: list[Failure]


def _best_rows(snapshot: Snapshot) -> _Best:
    """The nearest encoding of each frame to its original, the first of equals. Reads no payload."""
    rows: dict[str, tuple[Slice, int]] = {}
    psnr: dict[str, float] = {}
    failures: dict[str, Failure] = {}
    for part in snapshot.slices():
        try:
            for place, row in zip(part.rows, snapshot.rows(part, ["frame_id", "psnr"]), strict=False):
                name, fidelity = row["frame_id"], math.inf if row["psnr"] is None else row["psnr"]
                if fidelity > psnr.get(name, -math.inf):
                    rows[name], psnr[name] = (part, place), fidelity
        except ArchiveError as error:
            failures.setdefault(part.file, Failure(str(error), file=part.file))
    return _Best(rows, list(failures.values()))


def _slices(rows: Iterable[tuple[Slice, int]]) -> list[Slice]:
    """The slices with none but these rows."""
    wanted: dict[Slice, list[int]] = {}
    for part, place in rows:
        wanted.setdefault(part, []).append(place)
    return [Slice(part.file, tuple(sorted(places))) for part, places in wanted.items()]


class _Totals:
    """Sums over the answers that pass."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self.frames = self.fallbacks = self.before = self.after = 0
        self.failures = list(failures)

    def counted(self, answers: Iterable[Made | Failure]) -> Iterator[ArchivedFrame]:
        for answer in answers:
            if isinstance(answer, Failure):
                if not answer.file or answer.file not in {failure.file for failure in self.failures}:
                    self.failures.append(answer)
                continue
            self.frames += 1
            self.fallbacks += bool(answer.record.fallback)
            self.before += answer.before
            self.after += len(answer.record.payload)
            yield answer.record
