"""The settings of a training run, as a TOML file states them."""

from pathlib import Path

from pydantic import Field

from inspect_compress.qarv.network import Shape
from inspect_compress.settings import FilePath, Settings, read_settings


class SourceConfig(Settings):
    """One folder of images, or a labels.csv of which the rows of split `train` are used."""

    path: FilePath
    weight: float = Field(gt=0)
    """Share of the crops that come from here, relative to the other sources."""
    halved: float = Field(default=0.3, ge=0, le=1)
    """Part of its crops that are taken of the image at half size."""
    name: str
    licence: str
    """Both are written into the model card."""


class TrainConfig(Settings):
    out: FilePath
    """Folder for checkpoints, log and card."""
    minutes: float = Field(gt=0)
    """The schedule is laid over this time and finishes cleanly at its end."""
    init_from: FilePath | None = None
    """A weight file to start from; what its shape lacks starts as in a new network."""
    crop: int = Field(192, ge=64, multiple_of=32)
    batch: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    map_part: float = Field(0.2, ge=0, le=1)
    """Part of the steps in which λ varies within the crop."""
    halve_large: bool = True
    """Whether to halve every image that is large enough; else some of all sizes, as of small ones."""
    ema: float = Field(0.999, ge=0, lt=1)
    seed: int = 0
    checkpoint_minutes: float = Field(3, gt=0)
    validation_minutes: float = Field(15, gt=0)
    validation_images: int = Field(16, ge=1)
    """Held out of the first source's training images, evenly spaced."""
    threads: int = Field(2, ge=1)
    sources: list[SourceConfig] = Field(min_length=1)
    shape: dict[str, bool | int | float | list[int]] = Field(default_factory=dict)

    def network_shape(self) -> Shape:
        return Shape.from_dict(self.shape)


def read_config(path: Path) -> TrainConfig:
    """Read a training TOML. Raises ConfigError that names the file and the key."""
    return read_settings(path, TrainConfig)
