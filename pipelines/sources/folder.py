"""The image files of a folder: those that are there, or also those that come. What is done with them is not known.

Files are looked for again and again, since network shares do not tell of new ones.
"""

import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from inspect_compress.errors import ImageError
from inspect_compress.images import MAX_SIDE, SUFFIXES, image_from_bytes, list_images
from pipelines.frame import Frame
from pipelines.sources.contract import Failure, OnFailure, OnStall, frame_id, ignore_stall, is_set, raise_failure
from pipelines.sources.settings import PathSettings
from pipelines.sources.settling import Settling, Signature
from pipelines.sources.waiting import StoppedError, Waiting

MAX_FILE_BYTES = 4 * MAX_SIDE * MAX_SIDE
"""An uncompressed picture of the largest size takes three quarters of it."""
_MAX_NUMBER = 2**63 - 1
"""What the archive's column `sequence` holds."""


class FolderSettings(PathSettings):
    """`[source]` of the kind `folder`."""

    follow: bool = False
    numbered: bool = False
    settle_seconds: float = Field(default=2, ge=0)
    patience_seconds: float = Field(default=60, ge=0)
    poll_seconds: float = Field(default=1, gt=0)
    stall_seconds: float = Field(default=10, gt=0)


class FolderSource:
    """The image files in a folder and the folders below it, in the order of their paths.

    A frame's `frame_id` depends on its pixels and its path inside the folder; `captured_at` is the file's
    time of modification; `meta` holds that path (`path`) and the file's size (`file_bytes`). With `numbered`,
    `sequence` is the last number in the file's name, and gives the order. Names that begin with a dot are left out.
    Raises ImageError where the folder is missing or holds no images.

        for frame in FolderSource("frames", line="line-1"):
            print(frame.frame_id, frame.pixels.shape)

    With `follow` it goes on until `stop` is set, in the order in which the files were written. A file is read when
    its size and time of modification have been the same for `settle_seconds`; one that is no whole image is
    handed to `on_failure` when it has been the same for `patience_seconds`, and read again if it changes. A folder
    that is missing, or does not answer for `stall_seconds`, is told to `on_stall` and waited for.
    """

    Settings = FolderSettings
    durable = True

    def __init__(
        self,
        path: Path | str,
        *,
        line: str = "",
        station: str = "",
        product: str = "",
        camera: str = "",
        follow: bool = False,
        numbered: bool = False,
        settle_seconds: float = 2,
        patience_seconds: float = 60,
        poll_seconds: float = 1,
        stall_seconds: float = 10,
        on_failure: OnFailure = raise_failure,
        on_stall: OnStall = ignore_stall,
        stop: threading.Event | None = None,
    ) -> None:
        self._folder = Path(path)
        self._origin: dict[str, Any] = {"line": line, "station": station, "product": product, "camera": camera}
        self._follow = follow
        self._numbered = numbered
        self._settle, self._patience = settle_seconds, patience_seconds
        self._poll, self._stall = poll_seconds, stall_seconds
        self._on_failure, self._on_stall, self._stop = on_failure, on_stall, stop
        self._names = [] if follow else self._listed()

    def __len__(self) -> int:
        """The number of image files, readable or not; 0 where nobody knows how many will come."""
        return len(self._names)

    def __iter__(self) -> Iterator[Frame]:
        """Yield a frame for each readable file; the others are handed to `on_failure`."""
        return self._following() if self._follow else self._once()

    def _listed(self) -> list[str]:
        files = (file.relative_to(self._folder) for file in list_images(self._folder))
        names = [file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts)]
        if not names:
            raise ImageError(f"{self._folder}: holds no images but hidden ones, whose names begin with a dot")
        return sorted(names, key=lambda name: (_number(name), name)) if self._numbered else names

    def _once(self) -> Iterator[Frame]:
        for name in self._names:
            if is_set(self._stop):
                return
            try:
                data, signature = self._read(name)
                frame = self._frame(name, data, signature)
            except (ImageError, OSError) as error:
                self._failed(name, error)
                continue
            yield frame

    def _following(self) -> Iterator[Frame]:
        waiting = Waiting(seconds=self._stall, on_stall=self._on_stall, stop=self._stop)
        order = _by_number if self._numbered else _by_time
        book = Settling(settle=self._settle, patience=self._patience, order=order)
        denied: dict[str, OSError] = {}
        try:
            while not waiting.stopped:
                listing = waiting.call(lambda: _scan(self._folder), str(self._folder))
                if listing.trouble:
                    place = _shown(str(listing.trouble.filename))
                    waiting.failed(f"{place}: cannot be read: {listing.trouble.strerror}")
                else:
                    waiting.well()
                whole = listing.trouble is None
                for name in listing.denied.keys() - denied.keys():
                    self._failed(name, listing.denied[name])
                denied = listing.denied
                for name, signature in book.ready(listing.files, time.monotonic(), whole=whole):
                    yield from self._settled(name, signature, book, waiting)
                waiting.pause(self._poll)
        except StoppedError:
            return

    def _settled(self, name: str, seen: Signature, book: Settling, waiting: Waiting) -> Iterator[Frame]:
        """The frame of a file that seems whole; none where it is not, or was written to since."""
        try:
            data, signature = waiting.call(lambda: self._read(name), str(self._folder / name))
            if signature != seen:
                return
            frame = self._frame(name, data, signature)
        except FileNotFoundError:
            return
        except (ImageError, OSError) as error:
            if book.refused(name, time.monotonic(), lasting=isinstance(error, ImageError)):
                self._failed(name, error)
            return
        book.taken(name)
        yield frame

    def _read(self, name: str) -> tuple[bytes, Signature]:
        """The file's bytes, and its signature when they had been read."""
        with (self._folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ImageError(
                    f"{_shown(str(self._folder / name))}: has {size} bytes; no picture that is taken here "
                    f"has more than {MAX_FILE_BYTES}"
                )
            data = file.read(size)
            return data, _signature(os.fstat(file.fileno()))

    def _frame(self, name: str, data: bytes, signature: Signature) -> Frame:
        file = self._folder / name
        if not data:
            raise ImageError(f"{file}: is empty (zero bytes)")
        if _shown(name) != name:
            raise ImageError(f"{_shown(str(file))}: its name is not UTF-8; rename it")
        pixels = image_from_bytes(data, str(file))
        return Frame(
            pixels=pixels,
            frame_id=frame_id(name, pixels),
            captured_at=_captured_at(file, signature),
            sequence=_number(name) if self._numbered else 0,
            meta={"path": name, "file_bytes": str(len(data))},
            **self._origin,
        )

    def _failed(self, name: str, error: ImageError | OSError) -> None:
        if isinstance(error, OSError):
            why = error.strerror or error
            error = ImageError(f"{_shown(str(self._folder / name))}: cannot be read: {why}")
        self._on_failure(Failure(image=_shown(name), frame_id="", error=error))


@dataclass
class _Listing:
    """What lies in a folder now, the folders in it that are not for us, and the first error of another kind."""

    files: dict[str, Signature] = field(default_factory=dict)
    denied: dict[str, OSError] = field(default_factory=dict)
    trouble: OSError | None = None


def _scan(folder: Path) -> _Listing:
    listing, waiting = _Listing(), [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                    elif Path(name).suffix.lower() in SUFFIXES:
                        _note(entry, name, listing)
        except OSError as error:
            if below and isinstance(error, PermissionError):
                listing.denied[below] = error
            elif not below or not isinstance(error, FileNotFoundError):
                listing.trouble = listing.trouble or error
    return listing


def _note(entry: "os.DirEntry[str]", name: str, listing: _Listing) -> None:
    try:
        about = entry.stat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(about.st_mode):
        listing.files[name] = _signature(about)


def _signature(about: os.stat_result) -> Signature:
    return Signature(about.st_mtime_ns, about.st_size)


def _captured_at(file: Path, signature: Signature) -> datetime:
    try:
        return datetime.fromtimestamp(signature.modified / 1e9, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise ImageError(f"{file}: its time of modification is out of range; set it (touch)") from error


def _number(name: str) -> int:
    """The last number in a file's name, without its suffix; 0 where there is none."""
    found = re.findall(r"[0-9]+", Path(name).stem)
    return min(int(found[-1][-19:]), _MAX_NUMBER) if found else 0


def _by_number(name: str, signature: Signature) -> tuple[int, str]:
    return _number(name), name


def _by_time(name: str, signature: Signature) -> tuple[int, str]:
    return signature.modified, name


def _shown(name: str) -> str:
    """A name as text: bytes that are not UTF-8 are written out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
