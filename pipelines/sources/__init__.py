"""Where frames come from. A source is an iterable of frames; a plant's own package can add one.

Sources are entry points of the group `inspect_compress.sources`. What is done with frames is not known here.
"""

import inspect
import threading
from collections.abc import Callable
from typing import Any

from inspect_compress.plugins import load_plugin
from pipelines.sources.contract import (
    Failure,
    OnFailure,
    OnStall,
    Source,
    Stall,
    frame_id,
    ignore_stall,
    missed,
    raise_failure,
)
from pipelines.sources.folder import FolderSource
from pipelines.sources.iterator import IteratorSource
from pipelines.sources.settings import GROUP, SourceSettings, SourceTable, source_names

__all__ = [
    "Failure",
    "FolderSource",
    "IteratorSource",
    "OnFailure",
    "OnStall",
    "Source",
    "SourceSettings",
    "SourceTable",
    "Stall",
    "frame_id",
    "load_source",
    "missed",
    "open_source",
    "raise_failure",
    "source_names",
]


def load_source(name: str) -> Callable[..., Source]:
    """Return the constructor of a source. Raises ConfigError with the known names for an unknown one."""
    return load_plugin(GROUP, name, kind="source")


def open_source(
    settings: SourceSettings,
    *,
    on_failure: OnFailure = raise_failure,
    on_stall: OnStall = ignore_stall,
    stop: threading.Event | None = None,
) -> Source:
    """The source that `[source]` describes. `on_stall` and `stop` go to a source that takes them.

    Raises InspectCompressError where it cannot be opened.
    """
    constructor = load_source(settings.kind)
    waiting: dict[str, Any] = {"on_stall": on_stall, "stop": stop}
    takes = inspect.signature(constructor).parameters
    known = {name: value for name, value in waiting.items() if name in takes}
    return constructor(**settings.model_dump(exclude={"kind"}), on_failure=on_failure, **known)
