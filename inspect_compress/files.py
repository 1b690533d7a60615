"""Writing files so that they are either whole or absent. Nothing here knows what is inside them."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inspect_compress.errors import OutputError


def write_file(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write `data` to `path` at once: other processes see the whole file or none.

    Raises OutputError where `path` exists and `overwrite` is false, or where it cannot be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o666 & ~_umask())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def staged_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends well, and vanishes when it fails.

    Raises OutputError where `path` exists and is not an empty folder, unless `overwrite` is true. Then the
    old folder goes with all that is in it; one that work or a home stands in is refused even so.
    """
    path = Path(path)
    if path.is_dir() and not any(path.iterdir()):
        overwrite = True
    refuse_existing(path, overwrite=overwrite)
    _refuse_precious(path)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            yield stage
            stage.chmod(0o777 & ~_umask())
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            stage.replace(path)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError where `path` exists and `overwrite` is false."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or pass --overwrite")


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors of writing `path` into an OutputError that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"{path}: the disk is full; nothing was written") from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise OutputError(f"{path}: cannot be written: a part of this path is a file") from error
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _refuse_precious(path: Path) -> None:
    folder = path.resolve()
    holds_us = Path.cwd().is_relative_to(folder) or Path.home().is_relative_to(folder)
    if holds_us or (folder / ".git").exists():
        raise OutputError(f"{path}: --overwrite would delete this whole folder; choose another name")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
