"""What a run was made from: a line per frame, with its label, its split, and the SHA-256 of its files.

The file is `manifest.csv`, which a spreadsheet opens and `sha256sum` can follow. It says nothing about what the
frames look like: copies of one picture are for `evaluation.leakage` to find.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from inspect_compress.errors import DatasetError
from inspect_compress.files import read_text, write_file
from pipelines.datasets import SPLITS, Dataset, Item

MANIFEST = "manifest.csv"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One frame. `path` and `mask` are relative to the dataset's folder, or absolute where they lie elsewhere.

    `defect` is empty for a good part; `group`, `mask` and `mask_sha256` where there is none. Hashes are those of
    the files, in lower-case hexadecimal.
    """

    path: str
    sha256: str
    split: str
    defect: str
    group: str
    mask: str
    mask_sha256: str


_COLUMNS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True)
class Manifest:
    """All frames of a run, in the order of their paths."""

    entries: tuple[Entry, ...]

    def to_csv(self) -> bytes:
        """The file's content: UTF-8, lines ended by a line feed, the same bytes for the same frames."""
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([getattr(entry, name) for name in _COLUMNS] for entry in self.entries)
        return buffer.getvalue().encode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `to_csv()`, which is also what `sha256sum manifest.csv` prints."""
        return hashlib.sha256(self.to_csv()).hexdigest()


@dataclass(frozen=True)
class FilesChecked:
    """How the files on disk compare with a manifest: how many are `same`, and the paths of the others."""

    same: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]


def make_manifest(dataset: Dataset) -> Manifest:
    """Hash every image and mask of a dataset with splits. Raises DatasetError for a file that cannot be read."""
    return Manifest(tuple(sorted((_entry(dataset, item) for item in dataset.items), key=lambda entry: entry.path)))


def write_manifest(manifest: Manifest, path: Path, *, overwrite: bool = False) -> None:
    """Write `manifest.csv`, whole or not at all. Raises OutputError."""
    write_file(path, manifest.to_csv(), overwrite=overwrite)


def read_manifest(path: Path) -> Manifest:
    """Read what `write_manifest` wrote. Raises DatasetError, naming the line, for anything else."""
    try:
        rows = csv.reader(io.StringIO(read_text(path), newline=""))
        if tuple(next(rows, ())) != _COLUMNS:
            raise DatasetError(f"{path}: is no manifest; its header must be {','.join(_COLUMNS)}")
        manifest = Manifest(tuple(_parse(f"{path}, line {rows.line_num}", row) for row in rows))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: the manifest cannot be read: {error}") from error
    if not manifest.entries:
        raise DatasetError(f"{path}: the manifest lists no frames")
    return manifest


def check_files(manifest: Manifest, root: Path) -> FilesChecked:
    """Hash again the images and masks that are on disk below `root`, the dataset's folder."""
    same, changed, missing = 0, [], []
    for name, sha256 in _files(manifest):
        if not (root / name).is_file():
            missing.append(name)
        elif file_sha256(root / name) != sha256:
            changed.append(name)
        else:
            same += 1
    return FilesChecked(same, tuple(changed), tuple(missing))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises DatasetError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error


def _entry(dataset: Dataset, item: Item) -> Entry:
    return Entry(
        path=dataset.name_of(item.image),
        sha256=file_sha256(item.image),
        split=item.split,
        defect=item.defect,
        group=item.group,
        mask=dataset.name_of(item.mask) if item.mask else "",
        mask_sha256=file_sha256(item.mask) if item.mask else "",
    )


def _parse(where: str, row: list[str]) -> Entry:
    if len(row) != len(_COLUMNS):
        raise DatasetError(f"{where}: has {len(row)} values instead of {len(_COLUMNS)}")
    entry = Entry(*row)
    hashes = [entry.sha256, *([entry.mask_sha256] if entry.mask else [])]
    if not entry.path or entry.split not in SPLITS or not all(_SHA256.fullmatch(value) for value in hashes):
        raise DatasetError(f"{where}: lacks a path, a split ({', '.join(SPLITS)}) or a SHA-256; write it anew")
    return entry


def _files(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Each image and mask with its hash; a mask of several frames once."""
    yield from ((entry.path, entry.sha256) for entry in manifest.entries)
    yield from {entry.mask: entry.mask_sha256 for entry in manifest.entries if entry.mask}.items()
