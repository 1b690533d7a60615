"""What a `.qarv` file says of itself, without decoding it."""

from pathlib import Path
from typing import Any

from inspect_compress.errors import FormatError, ImageError, UnknownModelError
from inspect_compress.qarv.container import VERSION, Container
from inspect_compress.qarv.weights import installed_model


def describe(path: Path) -> dict[str, Any]:
    """Header, sizes and levels of a file as a JSON-ready dict; `lmbda` is None where the model is not installed.

    Raises ImageError and FormatError.
    """
    try:
        data = path.read_bytes()
        container = Container.from_bytes(data)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except FormatError as error:
        error.args = (f"{path}: {error}",)
        raise
    return {
        "version": VERSION,
        "width": container.width,
        "height": container.height,
        "channels": container.channels,
        "bit_depth": container.bit_depth,
        "lmbda": _lmbda(container),
        "lmbda_index": container.lmbda_index,
        "model": container.model,
        "bytes": len(data),
        "bpp": round(8 * len(data) / (container.width * container.height), 4),
        "levels": [{"stride": level.stride, "bytes": len(level.data)} for level in container.levels],
    }


def _lmbda(container: Container) -> float | None:
    try:
        shape = installed_model(container.model).network.shape
    except UnknownModelError:
        return None
    return round(shape.lmbda_of(container.lmbda_index), 3)
