"""Putting files into an archive: images, which are compressed, and `.qarv` files, which are stored as they are."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from inspect_compress.codecs import load_codec
from inspect_compress.errors import ImageError, InspectCompressError
from inspect_compress.images import SUFFIXES, Image, bit_depth, image_from_bytes, sample_bytes
from inspect_compress.qarv.describe import errors_of, facts_of
from inspect_compress.qarv.lmbda_map import quality_of
from pipelines.archive.schema import ArchivedFrame
from pipelines.archive.table import Archive
from pipelines.frame import Frame
from pipelines.policy import Request, Setting
from pipelines.progress import Track, untracked
from pipelines.sources import Failure, OnFailure, frame_id
from pipelines.sources.folder import MAX_FILE_BYTES
from pipelines.stages import Guard, compress, store, unstored

QARV = ".qarv"
RULE = "append"
"""What stands as the rule of a row that was put in by hand."""

TAKEN = {*SUFFIXES, QARV}

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where frames are from: what their rows say of it."""

    line: str = ""
    station: str = ""
    product: str = ""
    camera: str = ""


class Input(NamedTuple):
    """A file, and the name that its frame is known by."""

    path: Path
    name: str


@dataclass(frozen=True)
class Appended:
    """What became of the files: those that were new, those that were stored already, and the failures."""

    files: int
    stored: int
    failures: tuple[Failure, ...]

    @property
    def already_stored(self) -> int:
        """Files whose frame the archive held before."""
        return self.files - self.stored - len(self.failures)

    def to_dict(self) -> dict[str, Any]:
        """The result as it is printed by `--json`."""
        failures = [{"image": failure.image, "reason": str(failure.error)} for failure in self.failures]
        counts = {"files": self.files, "stored": self.stored, "already_stored": self.already_stored}
        return counts | {"failures": failures}


def inputs(paths: Iterable[Path]) -> list[Input]:
    """The files to store: each path that is a file, and the images and `.qarv` files below each that is a folder.

    A file in a folder is known by its path inside it. Raises ImageError where there is none.
    """
    found: list[Input] = []
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in TAKEN and file.is_file())
            found += [Input(file, file.relative_to(path).as_posix()) for file in files]
        else:
            found.append(Input(path, path.name))
    if not found:
        raise ImageError(f"{', '.join(map(str, paths))}: holds no images or .qarv files")
    return found


def append_files(
    archive: Archive, files: list[Input], origin: Origin, setting: Setting, guard: Guard, *, track: Track = untracked
) -> Appended:
    """Store each file's frame. One that cannot be read or encoded is among the failures, and the others are stored.

    The time of capture is the file's time of modification. Raises ArchiveError where a commit fails.
    """
    failures: list[Failure] = []
    images = [file for file in files if file.path.suffix.lower() != QARV]
    encoded = [file for file in files if file.path.suffix.lower() == QARV]
    frames = _read(track(images, "compressing", len(images)), partial(_frame, origin), failures.append)
    requests = (Request(frame, setting.codec, setting.quality, RULE) for frame in frames)
    records = _read(track(encoded, "storing", len(encoded)), partial(_record, origin), failures.append)
    compressed = compress(unstored(requests, archive), guard, on_failure=failures.append)
    stored = sum(1 for _ in store(chain(compressed, records), archive))
    return Appended(len(files), stored, tuple(failures))


def _read(files: Iterable[Input], made: Callable[[Input, bytes], T], on_failure: OnFailure) -> Iterator[T]:
    for file in files:
        try:
            yield made(file, _bytes(file.path))
        except InspectCompressError as error:
            on_failure(Failure(file.name, "", error))


def _bytes(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise ImageError(
                f"{path}: has {size} bytes; no picture that is taken here has more than {MAX_FILE_BYTES}"
            )
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _frame(origin: Origin, file: Input, data: bytes) -> Frame:
    return _framed(origin, file, data, image_from_bytes(data, str(file.path)))


def _framed(origin: Origin, file: Input, data: bytes, pixels: Image) -> Frame:
    return Frame(
        pixels=pixels,
        frame_id=frame_id(file.name, pixels),
        captured_at=datetime.fromtimestamp(file.path.stat().st_mtime, UTC),
        meta={"path": file.name, "file_bytes": str(len(data))},
        **asdict(origin),
    )


def _record(origin: Origin, file: Input, data: bytes) -> ArchivedFrame:
    """A `.qarv` file as it is: its original is not known, so the picture that it holds stands for it."""
    with errors_of(file.path):
        facts, pixels = facts_of(data), load_codec("qarv").decode(data)
    frame = _framed(origin, file, data, pixels)
    digest = sha256(sample_bytes(pixels)).hexdigest()
    return ArchivedFrame(
        frame_id=frame.frame_id,
        captured_at=frame.captured_at,
        codec="qarv",
        model=facts["model"],
        quality=quality_of(facts["lmbda_index"]),
        width=facts["width"],
        height=facts["height"],
        channels=facts["channels"],
        payload=data,
        pixels_sha256=digest,
        bit_depth=bit_depth(pixels),
        meta=frame.meta,
        rule=RULE,
        decoded_sha256=digest,
        **asdict(origin),
    )
