"""`[logs]`, `[metrics]` and `[mqtt]` of a line's TOML file. docs/observability.md explains each key."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from inspect_compress.settings import FilePath
from pipelines.section import Section

Port = Annotated[int, Field(ge=1, le=65535)]


class LogsConfig(Section):
    """`[logs]`: what is written about a run, and where to; on standard error where no file is named."""

    file: FilePath | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"


class MetricsConfig(Section):
    """`[metrics]`: where Prometheus finds a run's figures."""

    port: Port
    host: str = Field(default="127.0.0.1", min_length=1)


class MqttConfig(Section):
    """`[mqtt]`: the broker that verdicts, figures and alarms are sent to, and below which topic."""

    host: str = Field(min_length=1)
    port: Port | None = None
    topic: str = Field(default="", max_length=1000)
    qos: Literal[0, 1, 2] = 1
    interval: float = Field(default=60.0, ge=1, le=86400)
    outbox: int = Field(default=10_000, ge=1, le=1_000_000)
    username: str | None = Field(default=None, min_length=1)
    password_file: FilePath | None = None
    tls: bool = False
    ca_file: FilePath | None = None

    @field_validator("topic")
    @classmethod
    def _publishable(cls, topic: str) -> str:
        if any(sign in topic for sign in "+#\0") or topic.startswith(("/", "$")) or topic.endswith("/"):
            raise ValueError(f"is {topic!r}; leave out + and #, a / at either end, and a $ at the beginning")
        return topic

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.password_file and not self.username:
            raise ValueError("password_file needs a username; add it")
        if self.ca_file and not self.tls:
            raise ValueError("ca_file is for tls; set tls = true, or leave it out")
        return self
