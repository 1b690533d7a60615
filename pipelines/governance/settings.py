"""The table `[encryption]` of a line's TOML file. What is done with the keys is not known here."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from inspect_compress.errors import ConfigError
from inspect_compress.settings import beside_the_file
from pipelines.governance.encryption import VARIABLE, KeyRing, keys_from_environment, read_keys
from pipelines.section import Section

ENVIRONMENT = "env"
"""What `keys` says for the environment's variable instead of a file."""


def _beside_the_file(keys: str, info: ValidationInfo) -> str:
    return keys if keys == ENVIRONMENT else str(beside_the_file(Path(keys), info))


class EncryptionConfig(Section):
    """`[encryption]`: a key file, or `env`, and the key to encrypt with where it is not the current one there."""

    keys: Annotated[str, Field(min_length=1), AfterValidator(_beside_the_file)]
    key_id: str | None = None


def key_ring(config: EncryptionConfig | None) -> KeyRing | None:
    """The keys that a line encrypts with; None where it does not. Raises ConfigError where they cannot be read."""
    if config is None:
        return None
    ring = keys_from_environment() if config.keys == ENVIRONMENT else read_keys(Path(config.keys))
    if ring is None:
        raise ConfigError(f"[encryption] keys: is {ENVIRONMENT!r}, but the variable {VARIABLE} is not set")
    ring = ring.with_current(config.key_id) if config.key_id else ring
    if ring.current is None:
        raise ConfigError("[encryption] key_id: is missing, and the key file names no current key; add it")
    return ring
