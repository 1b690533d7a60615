"""An archive as it was at one version, in slices that processes and machines can read by themselves."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from inspect_compress.errors import ArchiveError
from pipelines.archive.place import table_errors
from pipelines.archive.schema import SCHEMA
from pipelines.archive.table import Archive, dataset_of, file_batches

SLICE_BYTES = 4 * 2**20
SLICE_ROWS = 64
"""Most bytes and rows of a slice; a worker that reads one reads all of its file before it as well."""


@dataclass(frozen=True)
class Slice:
    """Some rows of one of an archive's files, by their places in it, in ascending order."""

    file: str
    rows: Sequence[int]


class Snapshot:
    """The archive at `uri` as of `version`, by default the latest. What is written later is not in it.

    Raises ArchiveError where there is no archive.
    """

    def __init__(self, uri: str, version: int | None = None) -> None:
        self.uri = uri if "://" in uri else str(Path(uri).absolute())
        if version is None:
            Archive(uri, create=False)  # says what is wrong with a place that is none
        with table_errors(uri):
            self._table = DeltaTable(self.uri, version=version)
            self._dataset = dataset_of(self._table)
        self.version = self._table.version()
        self._files = {file.path: file for file in self._dataset.get_fragments()}

    def slices(self) -> list[Slice]:
        """All rows, by file, in the order of their dates. Only a file whose writer did not count them is opened."""
        actions = pa.table(self._table.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"])
        files = [(unquote(path), *facts) for path, *facts in zip(*actions.to_pydict().values(), strict=True)]
        return [
            Slice(file, part)
            for file, size, count in sorted(files)
            for part in _parts(range(self._counted(file) if count is None else count), size)
        ]

    def rows(self, part: Slice, columns: Sequence[str] = SCHEMA.names) -> Iterator[dict[str, Any]]:
        """The rows of a slice. Raises ArchiveError, naming the file, where it is missing, damaged or too short."""
        file = self._files[part.file]
        first = begun = 0
        with table_errors(self.uri, file.path):
            for batch in file_batches(file, self._dataset.schema, list(columns), None):
                ended = bisect_left(part.rows, first + len(batch))
                yield from batch.take([row - first for row in part.rows[begun:ended]]).to_pylist()
                first, begun = first + len(batch), ended
                if ended == len(part.rows):
                    return
        raise ArchiveError(f"{self.uri}, file {file.path}: has {first} rows; the table's log says it has more")

    def _counted(self, file: str) -> int:
        with table_errors(self.uri, self._files[file].path):
            return int(self._files[file].count_rows())


def _parts(rows: range, size: int) -> Iterator[range]:
    """The rows of a file of that many bytes, so many at a time that a slice is small and none is empty."""
    step = max(1, min(SLICE_ROWS, len(rows) * SLICE_BYTES // max(size, 1)))
    return (rows[first : first + step] for first in range(0, len(rows), step))
