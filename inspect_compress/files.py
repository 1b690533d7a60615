"""Writing files so that they are either whole or absent. Nothing here knows what is inside them."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from inspect_compress.errors import InspectCompressError, OutputError

FILE_BYTES = 256 * 2**20
"""Most bytes of one file that is read whole: an uncompressed picture of the largest size that is taken, 8192 x 8192
pixels in colour, has 192 MiB."""
TEXT_BYTES = 64 * 2**20
"""Most bytes of a table or a settings file: a million rows of a dataset."""
KEY = ".key"
"""The file in a resumable folder that says what work it belongs to."""


def read_file(path: Path, *, limit: int = FILE_BYTES) -> bytes:
    """The bytes of a file. Raises OSError where it has more than `limit`, whatever its size was said to be."""
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit >> 20} MiB, which is the most that is read", str(path))
    return data


def read_text(path: Path, *, encoding: str = "utf-8") -> str:
    """A table or settings file as text. Raises OSError, and UnicodeDecodeError where it is not in `encoding`."""
    text = read_file(path, limit=TEXT_BYTES).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    _refuse_place(path, overwrite=overwrite)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            yield stage
            stage.chmod(0o777 & ~_umask())
            _take_place(stage, path)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def resumable_folder(path: Path, key: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a folder for long work, which becomes `path` when the block ends well and outlives a kill.

    It lies beside `path` and is named `.NAME.pilot`. Where one was left by work with the same `key`, it is yielded
    as it was left; one with another key is discarded. It goes when the block raises an InspectCompressError or an
    OSError, and stays when the process is killed or interrupted, or fails otherwise.

    Raises OutputError as `staged_folder` does, and where another process works there at this moment.
    """
    path = Path(path)
    work = resumable_name(path)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(work):
            _refuse_place(path, overwrite=overwrite)
            if not (work / KEY).is_file() or (work / KEY).read_text(encoding="utf-8") != key:
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
                write_file(work / KEY, key.encode())
            try:
                yield work
            except (InspectCompressError, OSError):
                shutil.rmtree(work, ignore_errors=True)
                raise
            (work / KEY).unlink()
            _take_place(work, path)


def resumable_name(path: Path) -> Path:
    """Where `resumable_folder` works before the folder becomes `path`."""
    return path.with_name(f".{path.name}.pilot")


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


def _take_place(folder: Path, path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    folder.replace(path)


@contextmanager
def _only_one(work: Path) -> Iterator[None]:
    """Hold a lock, which the system drops when the process ends, however it ends. Raises OutputError if held."""
    lock = FileLock(work.with_name(f"{work.name}.lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{work}: another process is at work here; wait for it, or choose another name") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _refuse_place(path: Path, *, overwrite: bool) -> None:
    empty = path.is_dir() and not any(path.iterdir())
    refuse_existing(path, overwrite=overwrite or empty)
    _refuse_precious(path)


def _refuse_precious(path: Path) -> None:
    folder = path.resolve()
    holds_us = Path.cwd().is_relative_to(folder) or Path.home().is_relative_to(folder)
    if holds_us or (folder / ".git").exists():
        raise OutputError(f"{path}: --overwrite would delete this whole folder; choose another name")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
