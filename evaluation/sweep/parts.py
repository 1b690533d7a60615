"""What a sweep has measured so far, on disk in parts, so that a killed one goes on where it was.

A part is there as a whole or not at all. It stays valid for as long as dataset, settings and versions do.
"""

from io import BytesIO
from pathlib import Path

import pandas as pd

from inspect_compress.files import write_file


class Parts:
    """Tables in a folder, each under a name of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, name: str) -> bool:
        return self._path(name).is_file()

    def read(self, name: str) -> pd.DataFrame:
        """A part that is there."""
        return pd.read_parquet(self._path(name))

    def write(self, name: str, table: pd.DataFrame) -> None:
        """Store a part. Raises OutputError where the disk is full."""
        file = BytesIO()
        table.to_parquet(file, index=False)
        write_file(self._path(name), file.getvalue(), overwrite=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.parquet"
