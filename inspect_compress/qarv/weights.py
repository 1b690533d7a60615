"""Weight files: the network and its probability tables as safetensors, found by fingerprint.

A fingerprint is the first 8 bytes of the SHA-256 of the weight file, as 16 hex digits. Shipped files are named
by it, so that a compressed file, which holds the fingerprint, always finds the weights it was made with.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from inspect_compress.errors import ConfigError, UnknownModelError
from inspect_compress.files import write_file
from inspect_compress.qarv.network import SCALE_STEPS, Network, Shape
from inspect_compress.qarv.tables import radius

FOLDER = Path(__file__).parent.parent / "weights"
_TABLES = "tables"


@dataclass(frozen=True)
class Model:
    """A network ready to run, its probability tables (see `tables.gaussian_tables`) and its fingerprint."""

    network: Network
    tables: list[NDArray[np.int32]]
    fingerprint: str


def save_weights(network: Network, path: Path, tables: list[NDArray[np.int32]]) -> str:
    """Write a weight file and return its fingerprint. What float16 holds without loss is stored as float16."""
    tensors = {name: _compact(value.detach().cpu().contiguous()) for name, value in network.state_dict().items()}
    tensors[_TABLES] = torch.from_numpy(np.concatenate(tables))
    metadata = {"shape": json.dumps(network.shape.to_dict())}
    write_file(path, save(tensors, metadata), overwrite=True)
    return fingerprint_of(path.read_bytes())


def _compact(values: torch.Tensor) -> torch.Tensor:
    half = values.half()
    return half if torch.equal(half.float(), values) else values


def read_weights(path: Path) -> Model:
    """Read a weight file. Raises ConfigError where it is not one."""
    try:
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        network = Network(Shape.from_dict(json.loads(header["__metadata__"]["shape"])))
        tensors = load(data)
        tables = np.split(tensors.pop(_TABLES).numpy(), _table_ends())
        network.load_state_dict(tensors)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # safetensors, json and torch each raise their own for a foreign file
        raise ConfigError(f"{path}: is not a QARV weight file: {str(error).splitlines()[0]}") from error
    network.requires_grad_(False).eval()
    return Model(network, tables, fingerprint_of(data))


@lru_cache(maxsize=4)
def installed_model(fingerprint: str) -> Model:
    """The shipped weights with this fingerprint. Raises UnknownModelError with those that are installed."""
    path = FOLDER / f"qarv-{fingerprint}.safetensors"
    if not path.is_file():
        known = ", ".join(installed_fingerprints()) or "none"
        raise UnknownModelError(f"model {fingerprint} is not installed; installed: {known}")
    model = read_weights(path)
    if model.fingerprint != fingerprint:
        raise UnknownModelError(f"{path}: has been changed: its fingerprint is {model.fingerprint}")
    return model


def installed_fingerprints() -> list[str]:
    """The fingerprints of all shipped weights, sorted."""
    return sorted(path.stem.removeprefix("qarv-") for path in FOLDER.glob("qarv-*.safetensors"))


def default_fingerprint() -> str:
    """The model that new files are made with: the one line of `weights/default.txt`."""
    return (FOLDER / "default.txt").read_text("ascii").strip()


def fingerprint_of(data: bytes) -> str:
    """The fingerprint of a weight file's bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def _table_ends() -> list[int]:
    return np.cumsum([2 * radius(index) + 2 for index in range(SCALE_STEPS)])[:-1].tolist()
