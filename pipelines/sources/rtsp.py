"""A camera's RTSP stream, by OpenCV. It is connected to for ever; what is lost between two connections is counted."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from pydantic import AfterValidator, Field

from inspect_compress.errors import SourceError
from pipelines.frame import Frame
from pipelines.sources.contract import OnFailure, OnStall, frame_id, ignore_stall, raise_failure
from pipelines.sources.numbering import Numbering
from pipelines.sources.opencv import MAX_RATE, check_capture, frame_rate, open_capture, picture
from pipelines.sources.settings import SourceSettings
from pipelines.sources.waiting import StoppedError, Waiting


def _stream(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("rtsp", "rtsps") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("is not the URL of a stream; write rtsp://host/path")
    return url


class RtspSettings(SourceSettings):
    """`[source]` of the kind `rtsp`."""

    url: Annotated[str, AfterValidator(_stream)]
    frames_per_second: float | None = Field(default=None, gt=0, le=MAX_RATE)
    mono: bool = False
    stall_seconds: float = Field(default=10, gt=0)
    reconnect_seconds: float = Field(default=2, gt=0)


class RtspSource:
    """The frames of an RTSP stream, until `stop` is set.

    `captured_at` is when the frame came. `sequence` counts from 1, and lost frames too: those that the stream's time
    stamps leave room for, and those that `frames_per_second` (the stream's own rate where it is left out) would
    have brought while there was no connection. A stream that sends nothing for `stall_seconds`, or cannot be
    connected to, or whose frames are too large or have more than 8 bits, is told to `on_stall`, and connected to
    again after `reconnect_seconds`.
    """

    Settings = RtspSettings
    durable = False

    def __init__(
        self,
        url: str,
        *,
        line: str = "",
        station: str = "",
        product: str = "",
        camera: str = "",
        frames_per_second: float | None = None,
        mono: bool = False,
        stall_seconds: float = 10,
        reconnect_seconds: float = 2,
        on_failure: OnFailure = raise_failure,
        on_stall: OnStall = ignore_stall,
        stop: threading.Event | None = None,
    ) -> None:
        try:
            self._url, self._name = _stream(url), _without_secrets(url)
        except ValueError as error:
            raise SourceError(f"the URL of the stream {error}") from error
        self._origin: dict[str, Any] = {"line": line, "station": station, "product": product, "camera": camera}
        self._rate, self._mono = frames_per_second, mono
        self._stall, self._reconnect = stall_seconds, reconnect_seconds
        self._on_stall, self._stop = on_stall, stop

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame as it comes."""
        waiting = Waiting(seconds=2 * self._stall, on_stall=self._on_stall, stop=self._stop)
        numbering = Numbering()
        try:
            while not waiting.stopped:
                began = time.monotonic()
                capture = waiting.call(self._connect, self._name)
                if self._usable(capture, waiting):
                    numbering.connected(self._rate or frame_rate(capture), began)
                    yield from self._frames(capture, numbering, waiting)
                    waiting.failed(f"{self._name}: no more frames come; connecting again")
                waiting.pause(self._reconnect)
        except StoppedError:
            return

    def _connect(self) -> cv2.VideoCapture:
        patience = int(1000 * self._stall)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience]
        return open_capture(self._url, limits)

    def _usable(self, capture: cv2.VideoCapture, waiting: Waiting) -> bool:
        if not capture.isOpened():
            waiting.failed(f"{self._name}: there is no connection, or no video; trying again")
            return False
        try:
            check_capture(capture, self._name)
        except SourceError as error:
            capture.release()
            waiting.failed(str(error))
            return False
        return True

    def _frames(self, capture: cv2.VideoCapture, numbering: Numbering, waiting: Waiting) -> Iterator[Frame]:
        while True:
            there, bgr = waiting.call(capture.read, self._name)
            if not there:
                capture.release()
                return
            waiting.well()
            position = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield self._frame(bgr, numbering.next(position, time.monotonic()))

    def _frame(self, bgr: np.ndarray, number: int) -> Frame:
        pixels, now = picture(bgr, mono=self._mono), datetime.now(UTC)
        return Frame(
            pixels=pixels,
            frame_id=frame_id(f"{self._name} {now.isoformat()}", pixels),
            captured_at=now,
            sequence=number,
            meta={"stream": self._name},
            **self._origin,
        )


def _without_secrets(url: str) -> str:
    """The URL without a user's name, password and query, for messages and rows."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}{f':{parts.port}' if parts.port else ''}{parts.path}"
