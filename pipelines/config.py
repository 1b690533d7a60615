"""The configuration of a run, from one TOML file. `examples/line.toml` explains each key.

Paths in the file are relative to the file, so that a line's folder can be moved or mounted elsewhere.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from inspect_compress.codecs import codec_names
from inspect_compress.errors import ConfigError
from pipelines.detectors import detector_names
from pipelines.sources import source_names


def _one_of(names: Callable[[], list[str]]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names():
            raise ValueError(f"is {name!r}; known: {', '.join(names()) or 'none'}")
        return name

    return AfterValidator(check)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    return info.context["folder"] / path.expanduser() if info.context else path


def _uri_beside_the_file(uri: str, info: ValidationInfo) -> str:
    if not uri:
        raise ValueError("is empty; name a folder or a URI")
    return uri if "://" in uri else str(_beside_the_file(Path(uri), info))


def _text_to_path(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; name a file or folder")
    return Path(value) if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_text_to_path), AfterValidator(_beside_the_file)]


class Section(BaseModel):
    """One table of the file: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SourceConfig(Section):
    """`[source]`: where frames come from, and what is noted with each of them."""

    kind: Annotated[str, _one_of(source_names)]
    path: FilePath
    line: str = ""
    station: str = ""
    product: str = ""
    camera: str = ""


class CompressConfig(Section):
    """`[compress]`: the codec and its quality."""

    codec: Annotated[str, _one_of(codec_names)] = "qarv"
    quality: int = Field(default=60, ge=1, le=100)


class ArchiveConfig(Section):
    """`[archive]`: where the encoded frames are stored, a folder or an object store's URI."""

    uri: Annotated[str, AfterValidator(_uri_beside_the_file)]


class DetectConfig(Section):
    """`[detect]`: the detector, the labelled frames it learns from, and how often it may be wrong."""

    detector: Annotated[str, _one_of(detector_names)]
    train: FilePath
    target_false_alarm_rate: float = Field(default=0.05, gt=0, lt=1)


class LineConfig(Section):
    """A whole configuration. Without `[detect]`, frames are stored and read back, and not inspected."""

    source: SourceConfig
    compress: CompressConfig = CompressConfig()
    archive: ArchiveConfig
    detect: DetectConfig | None = None


def read_config(path: Path) -> LineConfig:
    """Read a configuration. Raises ConfigError that names the file and the key, and says what to do."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        settings = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; examples/line.toml is one to start from") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    try:
        return LineConfig.model_validate(settings, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError(f"{path}: {_in_words(error)}") from error


def _in_words(error: ValidationError) -> str:
    """The first problem as `[section] key: what is wrong`, and how many more there are."""
    problems = error.errors(include_url=False)
    first, more = problems[0], len(problems) - 1
    section, *keys = (str(part) for part in first["loc"])
    where = f"[{section}] {'.'.join(keys)}".strip()
    return f"{where}: {_problem(first, section, is_section=not keys)}" + (f" (and {more} more)" if more else "")


def _problem(problem: Any, section: str, *, is_section: bool) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "missing":
        return "is missing; add it"
    if kind == "extra_forbidden":
        known = ", ".join(_known_keys("" if is_section else section))
        return f"is not known; known {'sections' if is_section else 'keys'}: {known}"
    if kind in ("model_type", "model_attributes_type"):
        return f"is not a section; write [{section}] on a line of its own and its keys below it"
    if kind == "value_error":
        return str(context["error"])
    message = problem["msg"]
    return f"{message[:1].lower()}{message[1:]}, but is {problem['input']!r}"


def _known_keys(section: str) -> list[str]:
    models: dict[str, type[Section]] = {
        "": LineConfig,
        "source": SourceConfig,
        "compress": CompressConfig,
        "archive": ArchiveConfig,
        "detect": DetectConfig,
    }
    return list(models[section].model_fields)
