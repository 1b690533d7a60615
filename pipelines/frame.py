"""The frame: the only thing that moves between stages."""

from dataclasses import dataclass, field
from datetime import datetime

from inspect_compress.images import Image


@dataclass(frozen=True)
class Frame:
    """One captured picture and where it came from.

    `pixels` is `uint8`, `(H, W)` or `(H, W, 3)`, or `uint16`, `(H, W)`, for mono of more than 8 bits;
    `captured_at` is in UTC; `frame_id` is the same for the same picture of the same part however often it is
    read, so that storing it again changes nothing; `sequence` is the number that its source gave it, from 1, or 0
    where it gave none.
    """

    pixels: Image
    frame_id: str
    captured_at: datetime
    line: str = ""
    station: str = ""
    product: str = ""
    camera: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    sequence: int = 0
