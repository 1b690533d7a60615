"""The frames of a video file, by OpenCV. A file that still grows is not for it: see the folder that is followed."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
from pydantic import AwareDatetime

from inspect_compress.errors import SourceError
from pipelines.frame import Frame
from pipelines.sources.contract import Failure, OnFailure, frame_id, is_set, raise_failure
from pipelines.sources.opencv import check_capture, frame_rate, open_capture, picture
from pipelines.sources.settings import PathSettings

COUNT_TOLERANCE = 0.01
"""Containers that do not count their frames have the number estimated from duration and rate."""


class VideoSettings(PathSettings):
    """`[source]` of the kind `video`."""

    mono: bool = False
    started_at: AwareDatetime | None = None


class VideoSource:
    """The frames of a video file, in their order.

    `sequence` counts them from 1, and `frame_id` depends on the file's name, this number and the pixels.
    `captured_at` is the frame's time in the video, after `started_at`; without that, the file's time of
    modification is taken for the video's end. With `mono` frames are grey. Raises SourceError where the file is no
    video. One that ends too early is handed to `on_failure`, after the frames that it still has.

        for frame in VideoSource("shift.mp4", mono=True):
            print(frame.sequence, frame.captured_at)
    """

    Settings = VideoSettings
    durable = True

    def __init__(
        self,
        path: Path | str,
        *,
        line: str = "",
        station: str = "",
        product: str = "",
        camera: str = "",
        mono: bool = False,
        started_at: datetime | None = None,
        on_failure: OnFailure = raise_failure,
        stop: threading.Event | None = None,
    ) -> None:
        self._path = Path(path)
        self._origin: dict[str, Any] = {"line": line, "station": station, "product": product, "camera": camera}
        self._mono, self._started_at = mono, started_at
        self._on_failure, self._stop = on_failure, stop
        capture = self._open()
        self._count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._rate = frame_rate(capture)
        capture.release()

    def __length_hint__(self) -> int:
        """The number of frames, as the file says."""
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame."""
        began, capture, number = self._began(), self._open(), 0
        try:
            while not is_set(self._stop):
                there, bgr = capture.read()
                if not there:
                    self._check_end(number)
                    return
                number += 1
                pixels = picture(bgr, mono=self._mono)
                name = f"{self._path.name}#{number}"
                yield Frame(
                    pixels=pixels,
                    frame_id=frame_id(name, pixels),
                    captured_at=began + timedelta(milliseconds=capture.get(cv2.CAP_PROP_POS_MSEC)),
                    sequence=number,
                    meta={"path": name},
                    **self._origin,
                )
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        if not self._path.is_file():
            raise SourceError(f"{self._path}: is not a file")
        # An absolute path is never taken for a URL or a pattern of names.
        capture = open_capture(str(self._path.absolute()))
        if not capture.isOpened():
            raise SourceError(f"{self._path}: is not a video that FFmpeg can read, or is damaged")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        check_capture(capture, str(self._path))
        return capture

    def _began(self) -> datetime:
        if self._started_at is not None:
            return self._started_at.astimezone(UTC)
        ended = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        return ended - timedelta(seconds=self._count / self._rate if self._rate else 0)

    def _check_end(self, number: int) -> None:
        missing = self._count - number
        if missing > max(1, COUNT_TOLERANCE * self._count):
            error = SourceError(
                f"{self._path}: ends after frame {number} of {self._count}; it is damaged or cut short"
            )
            self._on_failure(Failure(image=self._path.name, frame_id="", error=error))
