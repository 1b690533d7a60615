"""A second Delta Lake table in an archive's folder, to which rows are added: verdicts, and what was let go.

Delta Lake leaves alone what begins with `_` in a table's folder, so the archive's own table does not see it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from inspect_compress.errors import ArchiveError
from pipelines.archive.place import OvertakenError, commit, open_table, table_at, table_errors
from pipelines.archive.schema import PARTITIONS, Row

COMMIT_ROWS = 8192
"""Most rows of one commit."""


class SideTable:
    """The table in the folder `folder` of the archive at `uri`. It is made when the first row is stored."""

    def __init__(self, uri: str, folder: str, schema: pa.Schema) -> None:
        self.uri = f"{uri.rstrip('/')}/{folder}"
        self._schema, self._name = schema, f"inspect-compress {folder.lstrip('_')}"

    def append(self, rows: Sequence[Row]) -> None:
        """Store rows, in one commit where they are not very many. Raises ArchiveError where they cannot be stored."""
        for start in range(0, len(rows), COMMIT_ROWS):
            self._commit(pa.Table.from_pylist(list(rows[start : start + COMMIT_ROWS]), schema=self._schema))

    def rows(
        self, where: ds.Expression | None = None, *, columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The rows that `where` (an Arrow expression) selects, or some of their columns; none without a table.

        Raises ArchiveError where a file is missing or damaged, and names it.
        """
        with table_errors(self.uri):
            table = table_at(self.uri)
            if table is None:
                return
            dataset = table.to_pyarrow_dataset()
        for file in dataset.get_fragments(filter=where):
            with table_errors(self.uri, file.path):
                for batch in file.to_batches(schema=dataset.schema, columns=columns, filter=where):
                    yield from batch.to_pylist()

    def _commit(self, rows: pa.Table) -> None:
        try:
            with table_errors(self.uri):
                table = open_table(self.uri, schema=self._schema, partitions=PARTITIONS, name=self._name, create=True)
                commit(table, rows, mode="append")
        except OvertakenError as error:
            raise ArchiveError(f"{self.uri}: other writers were first too often; run again") from error
