"""Frames from a Python iterable: whatever a plant's own program already has in hand."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from operator import length_hint
from typing import Any

from inspect_compress.errors import ImageError
from inspect_compress.images import Image, check_image
from pipelines.frame import Frame
from pipelines.sources.contract import Failure, OnFailure, frame_id, is_set, raise_failure


class IteratorSource:
    """Images, or frames, as an iterable gives them.

    An image becomes a frame that was captured when it came, numbered from 1. A frame stays as it is, but for what
    is given here and it has not, and for a number. What is neither is handed to `on_failure`.

    `durable` says that the program's next run gives the same again. Then an image's `frame_id` depends on `name`,
    its number and its pixels alone, so that nothing is stored twice; else on the time as well, since two equal
    pictures are of two parts.

        run_line(config, source=IteratorSource(camera.grab(), name="camera-7", line="line-1"))
    """

    def __init__(
        self,
        iterable: Iterable[Image | Frame],
        *,
        name: str = "iterator",
        durable: bool = False,
        line: str = "",
        station: str = "",
        product: str = "",
        camera: str = "",
        on_failure: OnFailure = raise_failure,
        stop: threading.Event | None = None,
    ) -> None:
        self.durable = durable
        self._iterable = iterable
        self._name = name
        self._origin: dict[str, Any] = {"line": line, "station": station, "product": product, "camera": camera}
        self._on_failure, self._stop = on_failure, stop

    def __length_hint__(self) -> int:
        """The number of images, where the iterable knows it."""
        return length_hint(self._iterable)

    def __iter__(self) -> Iterator[Frame]:
        """Yield a frame for each image or frame."""
        for number, item in enumerate(self._iterable, 1):
            if is_set(self._stop):
                return
            name = f"{self._name}#{number}"
            try:
                frame = self._completed(item, number) if isinstance(item, Frame) else self._frame(item, name, number)
            except ImageError as error:
                self._on_failure(Failure(image=name, frame_id="", error=error))
                continue
            yield frame

    def _frame(self, image: Image, name: str, number: int) -> Frame:
        # A copy: many cameras' programs fill the same buffer again.
        pixels = check_image(image, name, deep=True).copy()
        now = datetime.now(UTC)
        identity = name if self.durable else f"{name} {now.isoformat()}"
        return Frame(
            pixels=pixels,
            frame_id=frame_id(identity, pixels),
            captured_at=now,
            sequence=number,
            meta={"path": name},
            **self._origin,
        )

    def _completed(self, frame: Frame, number: int) -> Frame:
        check_image(frame.pixels, frame.frame_id, deep=True)
        if not frame.frame_id or frame.captured_at.tzinfo is None:
            raise ImageError(f"{self._name}#{number}: a frame needs a frame_id, and a captured_at with its time zone")
        missing = {key: value for key, value in self._origin.items() if not getattr(frame, key)}
        return replace(frame, **missing, sequence=frame.sequence or number)
