"""The settings of a training run, as a TOML file states them."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inspect_compress.errors import ConfigError
from inspect_compress.qarv.network import Shape


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceConfig(_Section):
    """One folder of images, or a labels.csv of which the rows of split `train` are used."""

    path: Path
    weight: float = Field(gt=0)
    """Share of the crops that come from here, relative to the other sources."""
    name: str
    licence: str
    """Both are written into the model card."""


class TrainConfig(_Section):
    out: Path
    """Folder for checkpoints, log and card."""
    minutes: float = Field(gt=0)
    """The schedule is laid over this time and finishes cleanly at its end."""
    crop: int = Field(192, ge=64, multiple_of=32)
    batch: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    map_part: float = Field(0.2, ge=0, le=1)
    """Part of the steps in which λ varies within the crop."""
    ema: float = Field(0.999, ge=0, lt=1)
    seed: int = 0
    checkpoint_minutes: float = Field(3, gt=0)
    validation_minutes: float = Field(15, gt=0)
    validation_images: int = Field(16, ge=1)
    """Held out of the first source's training images, evenly spaced."""
    threads: int = Field(2, ge=1)
    sources: list[SourceConfig] = Field(min_length=1)
    shape: dict[str, int | list[int]] = Field(default_factory=dict)

    def network_shape(self) -> Shape:
        return Shape.from_dict(self.shape)


def read_config(path: Path) -> TrainConfig:
    """Read a training TOML; relative paths in it are relative to its folder. Raises ConfigError."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
        config = TrainConfig.model_validate(values)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg'].lower()}") from error
    for source in config.sources:
        source.path = path.parent / source.path
    config.out = path.parent / config.out
    return config
