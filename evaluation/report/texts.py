"""The report's words, from one catalogue per language. No text of the report is written anywhere else."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Formatter
from typing import Any

LANGUAGES = ("en", "ja")


@dataclass(frozen=True)
class Texts:
    """A language's texts by dotted name, with values filled in: `texts("kpi.title", codec="jpeg")`."""

    lang: str
    entries: Mapping[str, str]

    def __call__(self, name: str, /, **values: Any) -> str:
        """The text called `name`. Raises KeyError for an unknown name or a value that is missing."""
        return self.entries[name].format(**values)


def load_texts(lang: str) -> Texts:
    """The catalogue of a language of `LANGUAGES`."""
    source = files("evaluation.report").joinpath(f"{lang}.toml").read_text(encoding="utf-8")
    return Texts(lang, dict(_flat(tomllib.loads(source))))


def placeholders(text: str) -> set[str]:
    """The names of the values that a text has places for."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
