"""The configuration of a run, from one TOML file. `examples/line.toml` explains each key.

Paths in the file are relative to the file, so that a line's folder can be moved or mounted elsewhere.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from inspect_compress.codecs import codec_names
from inspect_compress.settings import FilePath, beside_the_file, read_settings
from pipelines.detectors import detector_names, is_model_file
from pipelines.drift.settings import DriftConfig
from pipelines.flow.settings import FlowConfig
from pipelines.governance.settings import EncryptionConfig
from pipelines.observe.config import LogsConfig, MetricsConfig, MqttConfig
from pipelines.section import Section, one_of, uri_beside_the_file
from pipelines.sources import SourceTable


def model_beside_the_file(name: str, info: ValidationInfo) -> str:
    """A detector's name; that of an ONNX file becomes its absolute path.

    It is relative to the file that is being read, or to the working directory where none is.
    """
    return str(beside_the_file(Path(name).expanduser(), info).absolute()) if is_model_file(name) else name


def _known_detector(name: str) -> str:
    if not is_model_file(name) and name not in detector_names():
        raise ValueError(f"is {name!r}; known: {', '.join(detector_names()) or 'none'}, or the path of an ONNX file")
    return name


LOSSLESS = "lossless"


def _quality(value: Any) -> Any:
    if value != LOSSLESS and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100):
        raise ValueError(f'is {value!r}; give a whole number from 1 to 100, or "{LOSSLESS}"')
    return value


Quality = Annotated[int | Literal["lossless"], BeforeValidator(_quality)]
"""A quality from 1 to 100, or `lossless`."""


class CompressConfig(Section):
    """`[compress]`: the codec and its quality, and what every encoding has to stand before it is stored."""

    codec: Annotated[str, one_of(codec_names)] = "qarv"
    model: str = ""
    quality: int = Field(default=60, ge=1, le=100)
    lossless: Literal["jxl", "png"] = "jxl"
    verify: bool = True
    min_psnr: float | None = Field(default=None, gt=0)
    min_ms_ssim: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _floors_are_verified(self) -> Self:
        if not self.verify and (self.min_psnr, self.min_ms_ssim) != (None, None):
            raise ValueError("min_psnr and min_ms_ssim are checked by verify; set it to true, or leave them out")
        return self


class ArchiveConfig(Section):
    """`[archive]`: where the encoded frames are stored, a folder or an object store's URI."""

    uri: Annotated[str, AfterValidator(uri_beside_the_file)]


class DetectConfig(Section):
    """`[detect]`: the detector, the labelled frames it learns from, and how often it may be wrong."""

    detector: Annotated[str, AfterValidator(_known_detector), AfterValidator(model_beside_the_file)]
    train: FilePath
    target_false_alarm_rate: float = Field(default=0.05, gt=0, lt=1)


class PolicyConfig(Section):
    """`[policy]`: which frames are encoded at another quality than `[compress]` says, or without loss."""

    audit_every: int | None = Field(default=None, ge=1)
    suspect: Quality | None = None
    good: Quality | None = None
    products: dict[str, Quality] = Field(default_factory=dict)


class LineConfig(Section):
    """A whole configuration. Without `[detect]`, frames are stored and read back, and not inspected."""

    _file: Path | None = PrivateAttr(default=None)

    source: SourceTable
    compress: CompressConfig = CompressConfig()
    archive: ArchiveConfig
    detect: DetectConfig | None = None
    policy: PolicyConfig = PolicyConfig()
    flow: FlowConfig = FlowConfig()
    encryption: EncryptionConfig | None = None
    drift: DriftConfig | None = None
    logs: LogsConfig | None = None
    metrics: MetricsConfig | None = None
    mqtt: MqttConfig | None = None

    @field_validator("policy")
    @classmethod
    def _verdicts_need_a_detector(cls, policy: PolicyConfig, info: ValidationInfo) -> PolicyConfig:
        judged = policy.suspect is not None or policy.good is not None
        if judged and info.data.get("detect", "mistaken") is None:
            raise ValueError("suspect and good are for a detector to say; add a [detect] section, or leave them out")
        return policy

    @property
    def file(self) -> Path | None:
        """The file that it was read from; None where it came from Python."""
        return self._file

    @property
    def state(self) -> Path:
        """The folder of the ledger and the spool."""
        uri = self.archive.uri
        if self.flow.state:
            return self.flow.state
        if "://" not in uri:
            return Path(f"{uri.rstrip('/')}.state")
        return (self.file or Path("line.toml")).with_suffix(".state")


def read_config(path: Path) -> LineConfig:
    """Read a configuration. Raises ConfigError that names the file and the key, and says what to do."""
    config = read_settings(path, LineConfig)
    config._file = Path(path)
    return config
