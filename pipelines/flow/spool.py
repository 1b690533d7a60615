"""Frames on disk that are not in the archive yet: one file each, there until its commit is known.

Each process has a folder of its own in the spool, and holds its lock for as long as it lives. What a dead one left
is taken over by the next. The files' format is in `spool_file`.
"""

import hashlib
import os
import shutil
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from inspect_compress.errors import SpoolError
from inspect_compress.files import read_file
from pipelines.archive.keys import Keys
from pipelines.flow.spool_file import pack, unpack
from pipelines.frame import Frame

FRAME, FAILED, DAMAGED, UNFINISHED = ".frame", ".failed", ".damaged", ".tmp"
"""How the names of files end: waiting; could not be compressed; cannot be read; was being written."""
_LOCK = "lock"


def token(frame_id: str) -> str:
    """What a frame's file is known by: an id may hold anything, a file's name may not."""
    return hashlib.sha256(frame_id.encode(errors="backslashreplace")).hexdigest()[:20]


class Spool:
    """The spooled frames of one process, which owns the folder `owner` in `root`. Safe to be used by several threads.

    spool = Spool(Path("spool"), "1f3a", most_bytes=10**10, free_bytes=10**9)
    kept = spool.put(frame)
    spool.get(kept)
    spool.remove(kept)  # once its commit is known
    """

    def __init__(self, root: Path, owner: str, *, most_bytes: int, free_bytes: int, keys: Keys | None = None) -> None:
        self._root, self._folder = root, root / owner
        self._most, self._free, self._keys = most_bytes, free_bytes, keys
        self._files: dict[str, Path] = {}
        self._sizes: dict[str, int] = {}
        self._held = 0
        self._count = 0
        self._guard = threading.Lock()
        self._lock = _lock(self._folder)
        root.mkdir(parents=True, exist_ok=True)
        with _lock(root):  # so that nobody takes the folder over before it is locked
            self._folder.mkdir()
            self._lock.acquire(timeout=0)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be added: the spool's limit, and what has to stay free on the disk."""
        return self._held + size <= self._most and shutil.disk_usage(self._root).free >= self._free + size

    def put(self, frame: Frame) -> str:
        """Write a frame and return its token; then it is on the disk. One that is there already is left as it is.

        Raises SpoolError where it cannot be written.
        """
        name = token(frame.frame_id)
        with self._guard:
            if name in self._files:
                return name
            path = self._next(name)
        data = pack(frame, self._keys)
        try:
            _write(path, data)
        except OSError as error:
            raise SpoolError(f"{path}: cannot be written: {error.strerror or error}; free some space") from error
        self._enter(name, path, len(data))
        return name

    def get(self, name: str) -> Frame:
        """Read a frame. Raises SpoolError where its file is damaged, which is set aside then, and named."""
        with self._guard:
            path = self._files[name]
        try:
            frame = unpack(read_file(path), self._keys)
            if token(frame.frame_id) != name:
                raise SpoolError(f"holds another frame, {frame.frame_id}")
        except (OSError, SpoolError) as error:
            aside = self._root / f"{self._folder.name}-{path.stem}{DAMAGED}"
            os.replace(self._leave(name) or path, aside)
            raise SpoolError(f"{aside}: {error}; it stays there for you to look at") from error
        return frame

    def remove(self, name: str) -> None:
        """Delete a frame's file, if there is one: the frame is in the archive."""
        if path := self._leave(name):
            path.unlink(missing_ok=True)

    def keep_failed(self, name: str) -> None:
        """Keep a frame's file, if there is one, for the next start: nothing can be done with it in this one."""
        if path := self._leave(name):
            os.replace(path, path.with_suffix(FAILED))

    def take_over(self) -> list[str]:
        """The tokens of the frames that dead processes left, in their order. They are this process's from now on."""
        taken = []
        with _lock(self._root):
            for folder in sorted(path for path in self._root.iterdir() if path.is_dir() and path != self._folder):
                if _locked(folder):
                    continue
                for path in sorted(folder.iterdir()):
                    if path.suffix in (FRAME, FAILED):
                        taken.append(self._adopt(path))
                    else:
                        path.unlink()  # the lock, or a file that was not whole: its frame never counted as captured
                folder.rmdir()
        return taken

    def alive(self, owner: str) -> bool:
        """Whether the process that owns the folder `owner` still runs."""
        with _lock(self._root):
            return owner == self._folder.name or _locked(self._root / owner)

    def __contains__(self, name: str) -> bool:
        """Whether a frame waits here."""
        return name in self._files

    def __len__(self) -> int:
        """How many frames wait here."""
        return len(self._files)

    def close(self) -> None:
        """Give the folder up; it is deleted where no frame is left in it."""
        with _lock(self._root):
            if not any(path.name != _LOCK for path in self._folder.iterdir()):
                shutil.rmtree(self._folder)
            self._lock.release()

    def _adopt(self, path: Path) -> str:
        name = path.stem.partition("-")[2]
        mine = self._next(name)
        size = path.stat().st_size
        os.replace(path, mine)
        self._enter(name, mine, size)
        return name

    def _enter(self, name: str, path: Path, size: int) -> None:
        with self._guard:
            self._files[name], self._sizes[name] = path, size
            self._held += size

    def _leave(self, name: str) -> Path | None:
        with self._guard:
            self._held -= self._sizes.pop(name, 0)
            return self._files.pop(name, None)

    def _next(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count:012}-{name}{FRAME}"


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / _LOCK, thread_local=False)


def _locked(folder: Path) -> bool:
    """Whether a living process holds the lock of a folder."""
    if not folder.is_dir():
        return False
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or none, and have it on the disk."""
    unfinished = path.with_suffix(UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have a new name on the disk too, where a folder can be synchronised."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
