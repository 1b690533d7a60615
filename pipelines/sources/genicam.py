"""GenICam cameras (GigE Vision, USB3 Vision, CoaXPress), through `harvesters` and the maker's GenTL producer.

The camera is set up with the maker's own program, or by `features`. Raw colour (Bayer) is not converted here.
"""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from inspect_compress.errors import ImageError, SourceError
from inspect_compress.images import Image, check_image
from inspect_compress.settings import FilePath
from pipelines.frame import Frame
from pipelines.sources.contract import Failure, OnFailure, OnStall, frame_id, ignore_stall, raise_failure
from pipelines.sources.numbering import BlockNumbers
from pipelines.sources.settings import SourceSettings
from pipelines.sources.waiting import Waiting

Feature = bool | int | float | str

MONO = ("Mono8", "Mono10", "Mono12", "Mono14", "Mono16", "Mono10p", "Mono12p", "Mono12Packed")
COLOUR = ("RGB8", "BGR8")
BUFFERS = 16
"""Frames that the producer holds while the one before is on its way to the disk. What comes after these is lost."""
_ASKED_EVERY = 0.2
"""Seconds that the producer is given to hand over a frame, before the end may be asked for."""


class GenicamSettings(SourceSettings):
    """`[source]` of the kind `genicam`."""

    cti: FilePath
    serial: str = ""
    features: dict[str, Feature] = Field(default_factory=dict)
    stall_seconds: float = Field(default=10, gt=0)
    reconnect_seconds: float = Field(default=2, gt=0)


class GenicamSource:
    """The frames of one camera, until `stop` is set.

    `cti` is the file of the GenTL producer; `serial` the camera's serial number, which may be left out where the
    producer sees one camera only; `features` are set before the camera starts, in their order. `sequence` follows
    the camera's own count, so that what it or the network dropped shows as a jump, and is 0 where the producer has
    no count. `captured_at` is when the frame came; the camera's own clock stands in `meta["camera_ns"]`.

    A camera that is not there, or gives no frame for `stall_seconds`, is told to `on_stall` and waited for. Raises
    SourceError where the producer cannot be loaded, a feature not be set, or the pixel format not be taken.
    """

    Settings = GenicamSettings
    durable = False

    def __init__(
        self,
        cti: Path | str,
        *,
        serial: str = "",
        features: dict[str, Feature] | None = None,
        line: str = "",
        station: str = "",
        product: str = "",
        camera: str = "",
        stall_seconds: float = 10,
        reconnect_seconds: float = 2,
        on_failure: OnFailure = raise_failure,
        on_stall: OnStall = ignore_stall,
        stop: threading.Event | None = None,
    ) -> None:
        self._cti, self._serial, self._features = Path(cti), serial, features or {}
        self._camera = f"{self._cti}: the camera {serial}".rstrip()
        self._origin: dict[str, Any] = {"line": line, "station": station, "product": product, "camera": camera}
        self._stall, self._reconnect = stall_seconds, reconnect_seconds
        self._on_failure, self._on_stall, self._stop = on_failure, on_stall, stop
        _check_installed()
        if not self._cti.is_file():
            raise SourceError(
                f"{self._cti}: there is no such file; name the .cti file of the camera's GenTL producer"
            )

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame as it comes."""
        from genicam import genapi, gentl

        waiting = Waiting(seconds=self._stall, on_stall=self._on_stall, stop=self._stop)
        numbers = BlockNumbers()
        harvester = self._harvester()
        try:
            while not waiting.stopped:
                try:
                    if (acquirer := self._connected(harvester, waiting)) is not None:
                        numbers.connected()
                        yield from self._frames(acquirer, numbers, waiting)
                except (gentl.GenericException, genapi.GenericException) as error:
                    waiting.failed(f"{self._camera} is lost: {error}")
                waiting.pause(self._reconnect)
        finally:
            harvester.reset()

    def _harvester(self) -> Any:
        from genicam.gentl import GenericException
        from harvesters.core import Harvester

        harvester = Harvester()
        try:
            harvester.add_file(str(self._cti), check_validity=True)
            harvester.update()
        except (GenericException, OSError) as error:
            harvester.reset()
            raise SourceError(f"{self._cti}: is not a GenTL producer that can be loaded here: {error}") from error
        return harvester

    def _connected(self, harvester: Any, waiting: Waiting) -> Any:
        """The camera, set up; None where it is not there."""
        harvester.update()
        serials = [device.serial_number for device in harvester.device_info_list]
        if not self._serial and len(serials) > 1:
            raise SourceError(f"{self._cti}: sees {len(serials)} cameras; set serial to one of {', '.join(serials)}")
        if not serials or (self._serial and self._serial not in serials):
            seen = f"it sees {', '.join(serials)}" if serials else "it sees none"
            waiting.failed(f"{self._camera} is not there; {seen}")
            return None
        acquirer = harvester.create(serials.index(self._serial) if self._serial else 0)
        try:
            self._set_up(acquirer.remote_device.node_map)
        except BaseException:
            acquirer.destroy()
            raise
        return acquirer

    def _set_up(self, nodes: Any) -> None:
        from genicam.genapi import GenericException

        for name, value in self._features.items():
            try:
                nodes.get_node(name).value = value
            except (GenericException, TypeError, AttributeError) as error:
                raise SourceError(f"{self._camera} does not take {name} = {value!r}: {error}") from error
        _check_format(nodes.PixelFormat.value)

    def _frames(self, acquirer: Any, numbers: BlockNumbers, waiting: Waiting) -> Iterator[Frame]:
        try:
            acquirer.num_buffers = max(BUFFERS, acquirer.min_num_buffers)
            acquirer.start()
            last = time.monotonic()
            while not waiting.stopped:
                buffer = acquirer.try_fetch(timeout=_ASKED_EVERY)
                if buffer is None:
                    if time.monotonic() - last >= self._stall:
                        waiting.failed(f"{self._camera} gives no frames")
                    continue
                last = time.monotonic()
                waiting.well()
                with buffer:
                    frame = self._frame(buffer, numbers)
                if frame is not None:
                    yield frame
        finally:
            acquirer.destroy()

    def _frame(self, buffer: Any, numbers: BlockNumbers) -> Frame | None:
        now = datetime.now(UTC)
        block, camera_ns = _told(buffer.module, "frame_id"), _told(buffer.module, "timestamp_ns")
        name = f"{self._serial or self._cti.stem} {now.isoformat()}"
        try:
            pixels = pixels_of(buffer.payload.components)
        except (ImageError, SourceError) as error:
            self._on_failure(Failure(image=name, frame_id="", error=error))
            return None
        return Frame(
            pixels=pixels,
            frame_id=frame_id(name, pixels),
            captured_at=now,
            sequence=0 if block is None else numbers.next(block),
            meta={} if camera_ns is None else {"camera_ns": str(camera_ns)},
            **self._origin,
        )


class Component(Protocol):
    """What of harvesters' `Component2DImage` is used here."""

    data_format: str
    width: int
    height: int
    data: np.ndarray


def pixels_of(components: list[Component]) -> Image:
    """A copy of the picture in a buffer. Raises ImageError for what is not one grey or RGB picture.

    Samples of 10, 12 and 14 bits come as they are, in `uint16`; packed ones were unpacked by harvesters.
    """
    if len(components) != 1:
        raise ImageError(f"the camera's buffer holds {len(components)} pictures; set it up to send one")
    component = components[0]
    _check_format(component.data_format)
    colours = 3 if component.data_format in COLOUR else 1
    width, height = int(component.width) * colours, int(component.height)
    samples = np.asarray(component.data)
    if height < 1 or samples.size % height or samples.size // height < width:
        raise ImageError(f"the camera's buffer holds {samples.size} samples, not those of {width}x{height}")
    rows = samples.reshape(height, -1)[:, :width]  # what is beyond pads the row
    pixels = rows.reshape(height, -1, 3) if colours == 3 else rows
    ordered = pixels[..., ::-1] if component.data_format == "BGR8" else pixels
    deep = component.data_format != "Mono8" and colours == 1
    return check_image(np.array(ordered, np.uint16 if deep else np.uint8, order="C"), "the camera's frame", deep=True)


def _check_format(name: str) -> None:
    if name not in (*MONO, *COLOUR):
        raise SourceError(
            f"the camera sends pixels as {name}; set its PixelFormat to one of {', '.join((*MONO, *COLOUR))}"
        )


def _told(module: Any, name: str) -> int | None:
    """What the producer says of a buffer; None where it does not."""
    from genicam.gentl import GenericException

    try:
        return int(getattr(module, name))
    except GenericException:
        return None


def _check_installed() -> None:
    try:
        import harvesters.core  # noqa: F401
    except ImportError as error:
        raise SourceError("GenICam cameras need harvesters; run pip install 'inspect-compress[genicam]'") from error
