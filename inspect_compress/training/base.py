"""What an adaptation starts from: float weights, and the exact model that is used today. Trains nothing."""

from dataclasses import dataclass
from pathlib import Path

from inspect_compress.errors import ConfigError
from inspect_compress.qarv.weights import Model, default_fingerprint, installed_model, read_weights
from inspect_compress.training.loop import trained_network

SHIPPED = "qarv"
"""The name of the shipped default model."""
_FOLDER = Path(__file__).parent / "weights"
_OF_DEFAULT = _FOLDER / "qarv-d5482b06822437d9.safetensors"
"""The float weights that the shipped default was exported from."""


@dataclass(frozen=True)
class Base:
    """Float weights to go on from, and the model that the adapted one is compared with."""

    weights: Path
    model: Model


def load_base(name: str) -> Base:
    """The base of a name: `qarv`, or the path of float weights that a training or an adaptation wrote.

    The shipped default is compared with in its exact form, other weights as they are. Raises ConfigError.
    """
    if name == SHIPPED:
        return Base(_OF_DEFAULT, installed_model(default_fingerprint()))
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"base {name!r}: is neither {SHIPPED!r} nor a weight file")
    trained_network(path)
    return Base(path.absolute(), read_weights(path))
