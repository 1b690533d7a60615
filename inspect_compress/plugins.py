"""Finding commands, codecs, sources and detectors by name, through entry points of installed packages."""

from importlib.metadata import entry_points
from typing import Any

from inspect_compress.errors import ConfigError


def plugin_names(group: str) -> list[str]:
    """The names registered in an entry point group, sorted."""
    return sorted(entry_points(group=group).names)


def load_plugin(group: str, name: str, *, kind: str) -> Any:
    """Return the object registered as `name`; `kind` stands for it in the error for an unknown name.

    Raises ConfigError with the list of known names.
    """
    for entry in entry_points(group=group, name=name):
        return entry.load()
    raise ConfigError(f"unknown {kind} {name!r}; known: {', '.join(plugin_names(group)) or 'none'}")
