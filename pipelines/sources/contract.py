"""What a source of frames is, and what it is told and tells. How each kind works is in its own module."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from inspect_compress.errors import InspectCompressError
from inspect_compress.images import Image, sample_bytes
from pipelines.frame import Frame

ID_DIGITS = 20
"""Hex digits of a frame's id: 80 bits, so that a billion frames collide with a chance of one in a million."""


@dataclass(frozen=True)
class Failure:
    """A frame that could not be read, encoded or decoded; `frame_id` is empty where it was never read."""

    image: str
    frame_id: str
    error: InspectCompressError


@dataclass(frozen=True)
class Stall:
    """A source that gives nothing for a while: a share that hangs or is gone, a camera that is off.

    Told once for each stall. `seconds` is how long it has lasted so far; `reason` names the source.
    """

    reason: str
    seconds: float


OnFailure = Callable[[Failure], None]
OnStall = Callable[[Stall], None]


def raise_failure(failure: Failure) -> None:
    """Raise the failure's error: what happens to a failure where nobody takes care of it."""
    raise failure.error


def ignore_stall(stall: Stall) -> None:
    """Wait on in silence: what happens to a stall where nobody takes care of it."""


class Source(Protocol):
    """Frames, in the order of capture. Its constructor takes the keys of `[source]` but `kind`, and `on_failure`.

    A frame that cannot be read is handed to `on_failure` and left out. A source that knows how many frames
    it will yield says so in `__len__` or `__length_hint__`. Frames that were lost before they could be read
    show as a jump of `Frame.sequence` (see `missed`).

    A source that waits for frames takes two arguments more: `stop`, a threading.Event; once it is set, the
    iteration ends within seconds; and `on_stall`, which is called when it has waited for too long.

    A source with other keys than `PathSettings` declares them as `Settings`, a subclass of `SourceSettings`.
    """

    durable: bool
    """Whether its frames can be read again after a crash, with the same ids. Without it, taken as False."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames. Starts afresh with each call."""
        ...


def missed(before: int, now: int) -> int:
    """How many frames were lost between two that follow each other, by their numbers.

    None where a frame has no number (0), or where the count began anew.
    """
    return max(0, now - before - 1) if before and now else 0


def is_set(stop: threading.Event | None) -> bool:
    """Whether the source was asked to end."""
    return stop is not None and stop.is_set()


def frame_id(name: str, pixels: Image) -> str:
    """The id of a picture: 20 hex digits of the SHA-256 over its name, shape and pixels.

    `pixels` is `uint8` or `uint16`; 16-bit samples are hashed little-endian.
    """
    digest = hashlib.sha256(f"{name}\n{pixels.shape}\n".encode())
    digest.update(sample_bytes(pixels))
    return digest.hexdigest()[:ID_DIGITS]
