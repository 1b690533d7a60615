"""A frame shown before all of it is there: one picture for each level of a file that is still arriving.

for preview in previews(chunks):
    show(preview.image)
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from inspect_compress.errors import CutShortError, ImageError
from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.strides import STRIDES

_PAUSE = 0.1
"""Seconds between two looks at a growing file."""


@dataclass(frozen=True)
class Preview:
    """What the first `levels` of `count` look like, which take `needed` bytes; `whole` where it is the frame."""

    image: Image
    levels: int
    needed: int
    whole: bool
    count: int = len(STRIDES)


def previews(chunks: Iterable[bytes], codec: QarvCodec | None = None) -> Iterator[Preview]:
    """Yield a preview as soon as a level is whole, of the finest that is, and at last the frame.

    Raises what `QarvCodec.decode` does; CutShortError, after the previews, where the chunks end too soon.
    """
    codec = codec or QarvCodec()
    data, shown = b"", 0
    for chunk in chunks:
        data += chunk
        try:
            container = read_container(data, prefix=True)
        except CutShortError:
            continue
        if len(data) == container.size:
            break
        levels = min(len(container.levels), len(STRIDES) - 1)
        if levels > shown:
            shown = levels
            yield Preview(codec.decode(data, levels=levels), levels, container.ends[levels - 1], whole=False)
    yield Preview(codec.decode(data), len(STRIDES), len(data), whole=True)


def growing(path: Path, wait: float) -> Iterator[bytes]:
    """The bytes of a file as they arrive, until none have for `wait` seconds. Raises ImageError."""
    try:
        with path.open("rb") as file:
            arrived = time.monotonic()
            while True:
                chunk = file.read()
                if chunk:
                    arrived = time.monotonic()
                    yield chunk
                elif time.monotonic() - arrived >= wait:
                    return
                else:
                    time.sleep(_PAUSE)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
