"""Reading small tables of text (CSV, and the lists that data sets come with). What columns mean is not known here."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from inspect_compress import files
from inspect_compress.errors import DatasetError


@dataclass(frozen=True)
class Row:
    """One line of a table: `where` names file and line for errors; column names are in lower case."""

    where: str
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """The value without blanks around it; empty where the table has no such column."""
        return self.values.get(column, "")


def read_text(path: Path) -> str:
    """The file as text. Raises DatasetError where it cannot be read or is not UTF-8."""
    try:
        return files.read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text; save it as CSV UTF-8") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file with a header. Raises DatasetError where there is none."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restkey="", restval="")
        reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        rows = [Row(f"{path}, line {reader.line_num}", {k: v.strip() for k, v in row.items() if k}) for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise DatasetError(f"{path}: lists no frames")
    return rows
