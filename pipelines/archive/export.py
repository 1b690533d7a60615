"""Taking frames out of an archive, to PNG or as they are stored. What is written is noted by the caller.

The names of files are made from what is stored, and cannot lead out of the folder that was given.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from inspect_compress.batch import check_png_target
from inspect_compress.codecs import Codec, load_codec
from inspect_compress.errors import ArchiveError, ConfigError, FormatError, InspectCompressError
from inspect_compress.files import staged_folder, write_file
from inspect_compress.images import write_png
from pipelines.archive.departures import Departures
from pipelines.archive.keys import identity_of
from pipelines.archive.schema import ArchivedFrame, FrameKey
from pipelines.archive.selection import Selection, find
from pipelines.archive.table import Archive
from pipelines.progress import Track, untracked

INDEX = "frames.jsonl"
"""The file beside the exported ones that says what each of them is."""
NAME_LENGTH = 40
"""Most characters of a frame's own name in the name of its file, so that all fit into 255 bytes."""
UNIQUE_DIGITS = 16
_UNSAFE = re.compile(r"[^\w.-]+")


class Form(StrEnum):
    """What is written: the decoded picture, or the stored file."""

    png = "png"
    payload = "payload"


@dataclass(frozen=True)
class Exported:
    """What was written, and which frames and files of the archive could not be read."""

    folder: Path
    files: int
    bytes: int
    failures: tuple[tuple[FrameKey, str], ...]
    damaged_files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The result as it is printed by `--json`."""
        failures = [key._asdict() | {"reason": reason} for key, reason in self.failures]
        return {"folder": str(self.folder), "files": self.files, "bytes": self.bytes} | {
            "failures": failures,
            "damaged_files": list(self.damaged_files),
        }


def take_out(
    archive: Archive,
    frame_id: str,
    target: Path,
    codec: str | None,
    quality: int | None,
    *,
    payload: bool,
    overwrite: bool,
) -> ArchivedFrame:
    """Write one frame to a file and return its record.

    Raises ArchiveError where there is none or more than one, FormatError where it does not decode, OutputError
    where the file cannot be written.
    """
    if not payload:
        check_png_target(target, overwrite=overwrite)
    stored = _stored(archive, frame_id)
    found = [record for record in stored if codec in (None, record.codec) and quality in (None, record.quality)]
    if len(found) != 1:
        known = ", ".join(f"{r.codec} at quality {r.quality}" for r in stored)
        raise ArchiveError(
            f"{archive.uri}: frame {frame_id} is stored as {known}; choose one by --codec and --quality"
        )
    record = found[0]
    if payload:
        write_file(target, record.payload, overwrite=overwrite)
    else:
        write_png(target, _codec(record.codec).decode(record.payload), overwrite=overwrite)
    return record


def export(
    archive: Archive,
    selection: Selection,
    folder: Path,
    *,
    form: Form,
    limit: int | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Exported:
    """Write the selected frames to a new folder, with an index of what each file is.

    The folder appears when all is written. A frame that is damaged is left out and is among the failures, as are the
    archive's damaged files. Raises
    InspectCompressError where the archive cannot be read or the folder not be written.
    """
    wanted, damaged = None, dict[str, str]()

    def on_damaged_file(path: str, error: ArchiveError) -> None:
        damaged[path] = str(error)

    if limit or selection.verdict:
        wanted = {found.key for found in find(archive, selection, limit=limit, on_damaged_file=on_damaged_file)}
    failures: list[tuple[FrameKey, str]] = []

    def on_damaged(key: FrameKey, error: InspectCompressError) -> None:
        if wanted is None or key in wanted:
            failures.append((key, str(error)))

    files = size = 0
    with staged_folder(folder, overwrite=overwrite) as stage, (stage / INDEX).open("w", encoding="utf-8") as index:
        records = archive.frames(where=selection.where, on_damaged=on_damaged, on_damaged_file=on_damaged_file)
        chosen = (record for record in records if wanted is None or record.key in wanted)
        count = None if wanted is None else len(wanted)
        for record in track(chosen, "exporting", count):
            try:
                file = stage / file_name(record, form)
                _write(record, form, file)
            except (FormatError, ConfigError) as error:
                on_damaged(record.key, error)
                continue
            files, size = files + 1, size + file.stat().st_size
            index.write(json.dumps(_facts(record, file.name), ensure_ascii=False) + "\n")
    return Exported(folder, files, size, tuple(failures), tuple(damaged.values()))


def _stored(archive: Archive, frame_id: str) -> list[ArchivedFrame]:
    """All encodings of a frame. Raises ArchiveError; of one that was let go, it says when and why."""
    try:
        return archive.get(frame_id)
    except ArchiveError as error:
        for gone in Departures(archive.uri).of(frame_id):
            raise ArchiveError(
                f"{archive.uri}: frame {frame_id} was let go on {gone.expired_at:%Y-%m-%d}, by the rule "
                f"{gone.rule!r}; {gone.asked_by} asked for it"
            ) from error
        raise


def file_name(record: ArchivedFrame, form: Form) -> str:
    """A name for a frame's file: when it was captured, its own name as far as it is harmless, and what is unique."""
    own = PurePosixPath(record.meta.get("path", "").replace("\\", "/")).stem
    harmless = _UNSAFE.sub("_", own)[:NAME_LENGTH].strip("._")
    unique = hashlib.sha256(identity_of(record.key)).hexdigest()[:UNIQUE_DIGITS]
    parts = [f"{record.captured_at:%Y-%m-%dT%H%M%S.%f}", *([harmless] if harmless else []), unique]
    return "_".join(parts) + (".png" if form is Form.png else _codec(record.codec).suffix)


def _write(record: ArchivedFrame, form: Form, file: Path) -> None:
    if form is Form.payload:
        write_file(file, record.payload)
    else:
        write_png(file, _codec(record.codec).decode(record.payload))


def _facts(record: ArchivedFrame, file: str) -> dict[str, Any]:
    facts = {name: value for name, value in vars(record).items() if name != "payload"}
    return {"file": file} | facts | {"captured_at": record.captured_at.isoformat()}


@cache
def _codec(name: str) -> Codec:
    return load_codec(name)
