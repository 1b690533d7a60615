"""Images at half size: where a set's images were JPEG files once, their artefacts are averaged away."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inspect_compress.images import halved, read_8_bit_image, write_png


@contextmanager
def halved_copies(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Paths of lossless halved copies, which vanish when the block ends. Raises ImageError."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{number:06}-{path.stem}.png" for number, path in enumerate(paths)]
        for path, copy in zip(paths, copies, strict=True):
            write_png(copy, halved(read_8_bit_image(path)))
        yield copies
