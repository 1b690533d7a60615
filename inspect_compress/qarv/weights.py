"""Weight files: the network and its probability tables as safetensors, found by fingerprint.

A fingerprint is the first 8 bytes of the SHA-256 of the weight file, as 16 hex digits. Shipped files are named
by it, and those of the registry (`inspect_compress.models`) lie in folders named by it, so that a compressed file,
which holds the fingerprint, always finds the weights it was made with.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from inspect_compress.errors import ConfigError, UnknownModelError
from inspect_compress.files import read_file, write_file
from inspect_compress.models.folder import registered_weights, registry_folder
from inspect_compress.qarv.entropy import Models
from inspect_compress.qarv.exact import ExactNetwork
from inspect_compress.qarv.fused import fastest_layers
from inspect_compress.qarv.layers import Layers, Tensors
from inspect_compress.qarv.likelihood import SCALE_STEPS
from inspect_compress.qarv.network import Network, Shape
from inspect_compress.qarv.range_coder import Tables
from inspect_compress.qarv.tables import TOTAL, radius
from inspect_compress.qarv.threads import one_thread

FOLDER = Path(__file__).parent.parent / "weights"
_MOST_WIDTH, _MOST_BLOCKS = 1024, 32
"""Channels, and blocks at a stride, that a weight file may ask for."""
_BEFORE_FOLDING = {"folded": False}
"""What the shape of older files does not say."""
_TABLES = "tables"
_EXACT = "exact"


class CodingNetwork(Protocol):
    """What a codec needs of a network: the exact one, or one of the float ones that older files were made with.

    See `network.Network`; what `at` returns is for the other methods only.
    """

    shape: Shape

    def at(self, index: Tensor, count: int, *, halved: bool) -> Any:
        """The conditions of `count` planes at indexes of λ, int64, `(1, 1)` or a map `(H / 32, W / 32)`.

        A sample of halved planes stands for four.
        """

    def bottom_up(self, planes: Tensor, conditions: Any) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's features."""

    def top_down(
        self,
        size: tuple[int, int],
        conditions: Any,
        exchange: Any,
        encoder: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Exchange all latents and return the features that `render` takes."""

    def render(self, f: Tensor, conditions: Any) -> Tensor:
        """The planes."""


@dataclass(frozen=True)
class Model:
    """A network ready to run, its probability tables (see `tables.gaussian_tables`), its fingerprint and layers."""

    network: CodingNetwork
    tables: Tables
    fingerprint: str
    layers: Layers

    @cached_property
    def models(self) -> Models:
        """The tables, ready to code with."""
        return Models(self.tables, self.layers.coder(self.tables))


def save_weights(network: Network, path: Path, tables: Tables) -> str:
    """Write the weight file of a float network and return its fingerprint.

    What float16 holds without loss is stored as float16.
    """
    tensors = {name: _compact(value.detach().cpu().contiguous()) for name, value in network.state_dict().items()}
    return _save(tensors, tables, {"shape": json.dumps(network.shape.to_dict())}, path)


def save_exact_weights(shape: Shape, tensors: Tensors, tables: Tables, path: Path) -> str:
    """Write the weight file of an ExactNetwork and return its fingerprint."""
    return _save(dict(tensors), tables, {"arithmetic": _EXACT, "shape": json.dumps(shape.to_dict())}, path)


def _save(tensors: dict[str, Tensor], tables: Tables, metadata: dict[str, str], path: Path) -> str:
    tensors[_TABLES] = torch.from_numpy(np.concatenate(tables))
    data = save(tensors, metadata)
    write_file(path, data, overwrite=True)
    return fingerprint_of(data)


def _compact(values: Tensor) -> Tensor:
    half = values.half()
    return half if torch.equal(half.float(), values) else values


def read_weights(path: Path, layers: Layers | None = None) -> Model:
    """Read a weight file, for `layers` or the fastest. Raises ConfigError for another file."""
    try:
        data = read_file(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return weights_from(data, str(path), layers)


def weights_from(data: bytes, name: str, layers: Layers | None = None) -> Model:
    """The model in the bytes of a weight file. Raises ConfigError, which begins with `name`, where there is none."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        shape = Shape.from_dict(_BEFORE_FOLDING | json.loads(header["__metadata__"]["shape"]))
        _check_size(shape)
        tensors = load(data)
        tables = np.split(tensors.pop(_TABLES).numpy(), _table_ends())
        exact = header["__metadata__"].get("arithmetic") == _EXACT
        _check_tables(tables)
        layers = layers or fastest_layers()
        with one_thread():
            network = ExactNetwork(shape, tensors, layers) if exact else _float_network(shape, tensors)
    except Exception as error:  # safetensors, json and torch each raise their own for a foreign file
        raise ConfigError(f"{name}: is not a QARV weight file: {' '.join(str(error).splitlines()[:1])}") from error
    return Model(network, tables, fingerprint_of(data), layers)


def _check_size(shape: Shape) -> None:
    """Refuse what a file claims to be before there is memory made for it."""
    for name, value in shape.to_dict().items():
        most = _MOST_WIDTH if name.startswith("width") else _MOST_BLOCKS
        if isinstance(value, int) and not 0 <= value <= most:
            raise ValueError(f"its {name} is {value}; at most {most} is read")


def _check_tables(tables: Tables) -> None:
    """Refuse tables that an entropy coder would be led astray by."""
    for row, table in enumerate(tables):
        if len(table) != 2 * radius(row) + 2 or table.min() < 1 or table.sum(dtype=np.int64) != TOTAL:
            raise ValueError("its tables are no probabilities")


def _float_network(shape: Shape, tensors: Tensors) -> Network:
    network = Network(shape)
    network.load_state_dict(tensors)
    return network.requires_grad_(False).eval()


def installed_model(fingerprint: str) -> Model:
    """The shipped or registered weights whose fingerprint begins so. Raises UnknownModelError with what there is."""
    return _installed(full_fingerprint(fingerprint))


def full_fingerprint(beginning: str) -> str:
    """The fingerprint that begins so, of those that are installed. Raises UnknownModelError."""
    installed = installed_fingerprints()
    matching = [known for known in installed if known.startswith(beginning)]
    if len(matching) == 1:
        return matching[0]
    problem = "could be several" if matching else "is not installed"
    raise UnknownModelError(
        f"model {beginning} {problem}; installed: {', '.join(installed) or 'none'}; "
        "`inspect-compress models add` installs one"
    )


@lru_cache(maxsize=4)
def _installed(fingerprint: str) -> Model:
    path = weight_file(fingerprint)
    model = read_weights(path)
    if model.fingerprint != fingerprint:
        raise UnknownModelError(f"{path}: has been changed: its fingerprint is {model.fingerprint}")
    return model


def weight_file(fingerprint: str) -> Path:
    """The file of installed weights, by their full fingerprint."""
    return _weight_files()[fingerprint]


def installed_fingerprints() -> list[str]:
    """The fingerprints of all shipped and registered weights, sorted."""
    return sorted(_weight_files())


def shipped_fingerprints() -> list[str]:
    """The fingerprints of the weights that came with the package, sorted."""
    return sorted(_shipped_files())


def default_fingerprint() -> str:
    """The model that new files are made with: the one line of `weights/default.txt`."""
    return (FOLDER / "default.txt").read_text("ascii").strip()


def fingerprint_of(data: bytes) -> str:
    """The fingerprint of a weight file's bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def _weight_files() -> dict[str, Path]:
    return registered_weights(registry_folder()) | _shipped_files()


def _shipped_files() -> dict[str, Path]:
    return {path.stem.removeprefix("qarv-"): path for path in FOLDER.glob("qarv-*.safetensors")}


def _table_ends() -> list[int]:
    return np.cumsum([2 * radius(index) + 2 for index in range(SCALE_STEPS)])[:-1].tolist()
