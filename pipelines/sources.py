"""Where frames come from. A source is an iterable of frames; a plant's own package can add one.

Sources are entry points of the group `inspect_compress.sources`. What is done with frames is not known here.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from inspect_compress.errors import ImageError, InspectCompressError
from inspect_compress.images import Image, image_from_bytes, list_images, sample_bytes
from inspect_compress.plugins import load_plugin, plugin_names
from pipelines.frame import Frame

GROUP = "inspect_compress.sources"

ID_DIGITS = 20
"""Hex digits of a frame's id: 80 bits, so that a billion frames collide with a chance of one in a million."""


@dataclass(frozen=True)
class Failure:
    """A frame that could not be read, encoded or decoded; `frame_id` is empty where it was never read."""

    image: str
    frame_id: str
    error: InspectCompressError


OnFailure = Callable[[Failure], None]


def stop(failure: Failure) -> None:
    """Raise the failure's error: what happens to a failure where nobody takes care of it."""
    raise failure.error


class Source(Protocol):
    """Frames, in the order of capture. Its constructor takes the keys of `[source]`, and `on_failure`.

    A frame that cannot be read is handed to `on_failure` and left out. A source that knows how many frames
    it will yield says so in `__len__` or `__length_hint__`.
    """

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames. Starts afresh with each call."""
        ...


def load_source(name: str) -> Callable[..., Source]:
    """Return the constructor of a source. Raises ConfigError with the known names for an unknown one."""
    return load_plugin(GROUP, name, kind="source")


def source_names() -> list[str]:
    """The names of all installed sources, sorted."""
    return plugin_names(GROUP)


class FolderSource:
    """The image files in a folder and the folders below it, in the order of their paths.

    A frame's `frame_id` depends on its pixels and its path inside the folder; `captured_at` is the file's
    time of modification; `meta` holds that path (`path`) and the file's size (`file_bytes`). Raises
    ImageError where the folder is missing or holds no images.

        for frame in FolderSource("frames", line="line-1"):
            print(frame.frame_id, frame.pixels.shape)
    """

    def __init__(
        self,
        path: Path | str,
        *,
        line: str = "",
        station: str = "",
        product: str = "",
        camera: str = "",
        on_failure: OnFailure = stop,
    ) -> None:
        self._folder = Path(path)
        self._files = list_images(self._folder)
        self._origin = {"line": line, "station": station, "product": product, "camera": camera}
        self._on_failure = on_failure

    def __len__(self) -> int:
        """The number of image files, readable or not."""
        return len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        """Yield a frame for each readable file; the others are handed to `on_failure`."""
        for file in self._files:
            name = file.relative_to(self._folder).as_posix()
            try:
                frame = self._read(file, name)
            except ImageError as error:
                self._on_failure(Failure(image=name, frame_id="", error=error))
                continue
            yield frame

    def _read(self, file: Path, name: str) -> Frame:
        try:
            data, modified = file.read_bytes(), file.stat().st_mtime
        except OSError as error:
            raise ImageError(f"{file}: cannot be read: {error.strerror or error}") from error
        if not data:
            raise ImageError(f"{file}: is empty (zero bytes)")
        pixels = image_from_bytes(data, str(file))
        return Frame(
            pixels=pixels,
            frame_id=frame_id(name, pixels),
            captured_at=datetime.fromtimestamp(modified, UTC),
            meta={"path": name, "file_bytes": str(len(data))},
            **self._origin,
        )


def frame_id(name: str, pixels: Image) -> str:
    """The id of a picture: 20 hex digits of the SHA-256 over its name, shape and pixels.

    `pixels` is `uint8` or `uint16`; 16-bit samples are hashed little-endian.
    """
    digest = hashlib.sha256(f"{name}\n{pixels.shape}\n".encode())
    digest.update(sample_bytes(pixels))
    return digest.hexdigest()[:ID_DIGITS]
