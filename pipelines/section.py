"""What the tables of a line's TOML file have in common. Each part of the chain declares its own table."""

from collections.abc import Callable
from pathlib import Path

from pydantic import AfterValidator, ConfigDict, ValidationInfo

from inspect_compress.settings import Settings, beside_the_file


class Section(Settings):
    """One table of the file, whose values must have their types: `"60"` is not 60."""

    model_config = ConfigDict(strict=True)


def one_of(names: Callable[[], list[str]]) -> AfterValidator:
    """Accept what is among `names`; the error lists them."""

    def check(name: str) -> str:
        if name not in names():
            raise ValueError(f"is {name!r}; known: {', '.join(names()) or 'none'}")
        return name

    return AfterValidator(check)


def uri_beside_the_file(uri: str, info: ValidationInfo) -> str:
    """A folder's path relative to the file that is being read; a URI as it is."""
    if not uri:
        raise ValueError("is empty; name a folder or a URI")
    return uri if "://" in uri else str(beside_the_file(Path(uri), info))
