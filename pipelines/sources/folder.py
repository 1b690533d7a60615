"""The image files of a folder. Their order is that of their paths."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspect_compress.errors import ImageError
from inspect_compress.images import image_from_bytes, list_images
from pipelines.frame import Frame
from pipelines.sources.contract import Failure, OnFailure, frame_id, is_set, raise_failure


class FolderSource:
    """The image files in a folder and the folders below it, in the order of their paths.

    A frame's `frame_id` depends on its pixels and its path inside the folder; `captured_at` is the file's
    time of modification; `meta` holds that path (`path`) and the file's size (`file_bytes`). Raises
    ImageError where the folder is missing or holds no images.

        for frame in FolderSource("frames", line="line-1"):
            print(frame.frame_id, frame.pixels.shape)
    """

    durable = True

    def __init__(
        self,
        path: Path | str,
        *,
        line: str = "",
        station: str = "",
        product: str = "",
        camera: str = "",
        on_failure: OnFailure = raise_failure,
        stop: threading.Event | None = None,
    ) -> None:
        self._folder = Path(path)
        self._files = list_images(self._folder)
        self._origin: dict[str, Any] = {"line": line, "station": station, "product": product, "camera": camera}
        self._on_failure = on_failure
        self._stop = stop

    def __len__(self) -> int:
        """The number of image files, readable or not."""
        return len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        """Yield a frame for each readable file; the others are handed to `on_failure`."""
        for file in self._files:
            if is_set(self._stop):
                return
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
