"""The configuration of a run, from one TOML file. `examples/line.toml` explains each key.

Paths in the file are relative to the file, so that a line's folder can be moved or mounted elsewhere.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo

from inspect_compress.codecs import codec_names
from inspect_compress.settings import FilePath, Settings, beside_the_file, read_settings
from pipelines.detectors import detector_names
from pipelines.sources import source_names


def _one_of(names: Callable[[], list[str]]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names():
            raise ValueError(f"is {name!r}; known: {', '.join(names()) or 'none'}")
        return name

    return AfterValidator(check)


def _uri_beside_the_file(uri: str, info: ValidationInfo) -> str:
    if not uri:
        raise ValueError("is empty; name a folder or a URI")
    return uri if "://" in uri else str(beside_the_file(Path(uri), info))


class Section(Settings):
    """One table of the file, whose values must have their types: `"60"` is not 60."""

    model_config = ConfigDict(strict=True)


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
    return read_settings(path, LineConfig)
