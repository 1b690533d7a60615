"""The table `[source]` of a line's TOML file: the keys that every source has, and those of each kind."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from inspect_compress.plugins import load_plugin, plugin_names
from inspect_compress.settings import FilePath
from pipelines.section import Section, one_of

GROUP = "inspect_compress.sources"
"""The entry points' group in which sources are found."""


def source_names() -> list[str]:
    """The names of all installed sources, sorted."""
    return plugin_names(GROUP)


class SourceSettings(Section):
    """The keys of `[source]` that every source has: its kind, and what is noted with each frame."""

    kind: Annotated[str, one_of(source_names)]
    line: str = ""
    station: str = ""
    product: str = ""
    camera: str = ""


class PathSettings(SourceSettings):
    """The keys of a source that does not declare its own."""

    path: FilePath


def _of_its_kind(value: Any, info: ValidationInfo) -> Any:
    """The table checked with the keys that its kind declares; one without a known kind stays as it is."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in source_names():
        return value
    model = getattr(load_plugin(GROUP, kind, kind="source"), "Settings", PathSettings)
    if unknown := [key for key in value if key not in model.model_fields]:
        raise _not_known(unknown, model)
    return model.model_validate(value, context=info.context)


def _not_known(keys: list[str], model: type[SourceSettings]) -> ValidationError:
    says = {"error": f"is not known; known keys: {', '.join(model.model_fields)}"}
    problem = PydanticCustomError("value_error", "{error}", says)
    details = [InitErrorDetails(type=problem, loc=(key,), input=key) for key in keys]
    return ValidationError.from_exception_data(model.__name__, details)


SourceTable = Annotated[SourceSettings, BeforeValidator(_of_its_kind)]
"""`[source]` with the keys of its kind."""
