"""What a `.qarv` file says of itself, without decoding it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspect_compress.errors import FormatError, ImageError, UnknownModelError
from inspect_compress.files import read_file
from inspect_compress.qarv.container import Container
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.lmbda_map import grid, palette_of, read_map
from inspect_compress.qarv.weights import Model, installed_model


def describe(path: Path) -> dict[str, Any]:
    """Header, sizes and levels of a file as a JSON-ready dict.

    `lmbda` is None where the model is not installed. `lmbda_map` is None where λ is the same everywhere. A level's
    `preview_bytes` are the bytes of the file that hold it and all before it.

    Raises ImageError and FormatError.
    """
    with errors_of(path):
        return facts_of(read_file(path))


def facts_of(data: bytes) -> dict[str, Any]:
    """As `describe`, for a file in memory."""
    return _facts(read_container(data), len(data))


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file that is read into an ImageError or FormatError that names it."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except FormatError as error:
        error.args = (f"{path}: {error}",)
        raise


def _facts(container: Container, size: int) -> dict[str, Any]:
    header = container.header
    try:
        model = installed_model(header.model)
    except UnknownModelError:
        model = None
    return {
        "version": container.version,
        "width": header.width,
        "height": header.height,
        "channels": header.channels,
        "bit_depth": header.bit_depth,
        "lmbda": round(model.network.shape.lmbda_of(header.lmbda_index), 3) if model else None,
        "lmbda_index": header.lmbda_index,
        "lmbda_map": _map_facts(container, model) if header.lmbda_map else None,
        "model": model.fingerprint if model else header.model,
        "bytes": size,
        "bpp": round(8 * size / (header.width * header.height), 4),
        "levels": [
            {"stride": level.stride, "bytes": len(level.data), "preview_bytes": end}
            for level, end in zip(container.levels, container.ends, strict=True)
        ],
    }


def _map_facts(container: Container, model: Model | None) -> dict[str, int]:
    """How many cells a map has depends on the model: without it, only its palette is read."""
    header = container.header
    indexes = palette_of(header.lmbda_index, header.lmbda_map)
    if model:
        cells = grid(header.height, header.width, model.network.shape.margin)
        indexes = read_map(header.lmbda_index, header.lmbda_map, cells).ravel().tolist()
    return {"bytes": len(header.lmbda_map), "lowest_index": min(indexes), "highest_index": max(indexes)}
