"""A training run's state as one safetensors file: numbers and names, and nothing that a reader would have to execute.

What the state consists of is not known here: dicts, lists, tensors and what JSON holds.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from inspect_compress.errors import ConfigError
from inspect_compress.files import read_file

_STATE = "state"
_TENSOR, _DICT = "tensor", "dict"


def checkpoint_bytes(state: Any) -> bytes:
    """The file for `state`."""
    tensors: dict[str, Tensor] = {}
    described = _described(state, tensors)
    return save(tensors, {_STATE: json.dumps(described)})


def read_checkpoint(path: Path) -> Any:
    """The state in a file, its tensors on the CPU. Raises ConfigError where it is not a checkpoint."""
    try:
        data = read_file(path)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return _restored(json.loads(header["__metadata__"][_STATE]), load(data))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not a checkpoint of this version; train from the start") from error


def _described(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON, its tensors by number; dicts as pairs, whose keys may be numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        return {_DICT: [[key, _described(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return [_described(part, tensors) for part in value]
    return value


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_restored(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    return {key: _restored(part, tensors) for key, part in value[_DICT]}
