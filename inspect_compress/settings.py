"""Settings from TOML files, checked by pydantic models; each problem becomes one line that says what to do.

Paths in a file are relative to the file, so that its folder can be moved or mounted elsewhere.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from inspect_compress.errors import ConfigError
from inspect_compress.files import read_text


class Settings(BaseModel):
    """A table of a TOML file: unknown keys are errors, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """`path` relative to the folder of the file that is being read."""
    return info.context["folder"] / path.expanduser() if info.context else path


def _text_to_path(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; name a file or folder")
    return Path(value) if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_text_to_path), AfterValidator(beside_the_file)]
"""A path in a settings file, relative to that file."""

Model = TypeVar("Model", bound=BaseModel)


def read_settings(path: Path, model: type[Model]) -> Model:
    """Read a TOML file. Raises ConfigError that names the file and the key, and says what to do."""
    path = Path(path)
    try:
        values = tomllib.loads(read_text(path, encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply to be settings") from error
    return checked_settings(values, model, str(path), path.resolve().parent)


def checked_settings(values: Mapping[str, Any], model: type[Model], name: str, folder: Path) -> Model:
    """Settings from what a file or the command line says. Raises ConfigError, which begins with `name`.

    Paths among the values are relative to `folder`.
    """
    try:
        return model.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        raise ConfigError(f"{name}: {_in_words(error, model)}") from error


def _in_words(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem as `[section] key: what is wrong`, and how many more there are."""
    problems = error.errors(include_url=False)
    first, more = problems[0], len(problems) - 1
    *sections, key = (str(part) for part in first["loc"])
    given_a_table = isinstance(first["input"], dict) and first["type"] != "missing"
    is_section = given_a_table or _table_at(model, first["loc"]) is not None
    where = f"[{'.'.join([*sections, key])}]" if is_section else f"[{'.'.join(sections)}] {key}" if sections else key
    if key.isdigit():
        where = f"{'.'.join(sections)}, item {int(key) + 1}"
    return f"{where}: {_problem(first, model)}" + (f" (and {more} more)" if more else "")


def _problem(problem: Any, model: type[BaseModel]) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    *sections, key = problem["loc"]
    if kind == "missing":
        return "is missing; add it"
    if kind == "extra_forbidden":
        owner = _table_at(model, sections)
        kinds = "keys" if sections else "settings"
        return f"is not known; known {kinds}: {', '.join(owner.model_fields if owner else ())}"
    if kind in ("model_type", "model_attributes_type"):
        return f"is not a section; write [{key}] on a line of its own and its keys below it"
    if kind == "value_error":
        return str(context["error"])
    message = problem["msg"]
    return f"{message[:1].lower()}{message[1:]}, but is {problem['input']!r}"


def _table_at(model: type[BaseModel], location: Any) -> type[BaseModel] | None:
    """The model of the table at a location in `model`; None where there is no table."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        tables = [t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel)]
        if not tables:
            return None
        model = tables[0]
    return model
