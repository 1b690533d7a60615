"""What an adaptation starts from: float weights, and the exact model that is used today. Trains nothing."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from inspect_compress.errors import ConfigError
from inspect_compress.qarv.weights import FOLDER as SHIPPED_WEIGHTS
from inspect_compress.qarv.weights import Model, default_fingerprint, installed_model, read_weights
from inspect_compress.training.export import Scales, scales_of
from inspect_compress.training.loop import trained_network

SHIPPED = "qarv"
"""The name of the shipped default model."""
_FOLDER = Path(__file__).parent / "weights"
_OF_DEFAULT = _FOLDER / "qarv-f3481b190ad3479e.safetensors"
"""The float weights that the shipped default was exported from."""


@dataclass(frozen=True)
class Base:
    """Float weights to go on from, and the model that the adapted one is compared with.

    `scales` are those of its activations, where it was exported: an adapted network still has to hold what the base
    was made for, and the plant's frames do not show that.
    """

    weights: Path
    model: Model
    scales: Scales | None


def load_base(name: str) -> Base:
    """The base of a name: `qarv`, or the path of float weights that a training or an adaptation wrote.

    The shipped default is compared with in its exact form, other weights as they are. Raises ConfigError.
    """
    if name == SHIPPED:
        exact = installed_model(default_fingerprint())
        tensors = load_file(SHIPPED_WEIGHTS / f"qarv-{exact.fingerprint}.safetensors")
        return Base(_OF_DEFAULT, exact, scales_of(trained_network(_OF_DEFAULT), tensors))
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"base {name!r}: is neither {SHIPPED!r} nor a weight file")
    trained_network(path)
    return Base(path.absolute(), read_weights(path), None)
