"""Calls to the C++ sources here, where a compiler built them and the processor has what they need.

fused.py and compiled_coder.py know what for.
"""

import ctypes
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

FASTEST_FIRST = ("avx512", "avx2")
"""The builds: setup.py says with which instructions. torch has the same names for what it may use."""

FOLDER = Path(__file__).parent
_SOURCES = (
    *("kernels.cpp", "coder.cpp", "colours.cpp"),
    *("buffer.hpp", "filter.hpp", "pool.hpp", "product.hpp", "avx512.hpp", "avx2.hpp"),
)


class Filter(ctypes.Structure):
    """As in filter.hpp."""

    _fields_ = (
        ("channels", ctypes.c_int64),
        ("factors", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("unit", ctypes.c_void_p),
    )


class RealFilter(ctypes.Structure):
    """As in filter.hpp."""

    _fields_ = (
        ("channels", ctypes.c_int64),
        ("factors", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class Block(ctypes.Structure):
    """As in kernels.cpp."""

    _fields_ = (
        ("filter", Filter),
        ("hidden", ctypes.c_int64),
        ("least_power", ctypes.c_double),
        ("scale", ctypes.c_void_p),
        ("up", ctypes.c_void_p),
        ("up_bias", ctypes.c_void_p),
        ("up_shift", ctypes.c_void_p),
        ("down", ctypes.c_void_p),
        ("down_scale", ctypes.c_void_p),
        ("down_bias", ctypes.c_void_p),
    )


class EncoderBlock(ctypes.Structure):
    """As in kernels.cpp."""

    _fields_ = (
        ("filter", RealFilter),
        ("hidden", ctypes.c_int64),
        ("up", ctypes.c_void_p),
        ("up_bias", ctypes.c_void_p),
        ("down", ctypes.c_void_p),
        ("down_bias", ctypes.c_void_p),
    )


class RealLinear(ctypes.Structure):
    """As in kernels.cpp."""

    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class Posterior(ctypes.Structure):
    """As in kernels.cpp."""

    _fields_ = (
        ("width", ctypes.c_int64),
        ("latents", ctypes.c_int64),
        ("direct", ctypes.c_void_p),
        ("direct_bias", ctypes.c_void_p),
        ("up", ctypes.c_void_p),
        ("up_bias", ctypes.c_void_p),
        ("down", ctypes.c_void_p),
        ("down_bias", ctypes.c_void_p),
    )


class Map(ctypes.Structure):
    """As in kernels.cpp."""

    _fields_ = (
        ("index", ctypes.c_void_p),
        ("cells", ctypes.c_int64),
        ("cells_in_row", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
    )


class Linear(ctypes.Structure):
    """As in kernels.cpp."""

    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("weights", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
    )


class Tell(ctypes.Structure):
    """As in kernels.cpp."""

    _fields_ = (
        ("back", Linear),
        ("strengths", ctypes.c_int64),
        ("context", ctypes.c_void_p),
        ("context_moved", ctypes.c_void_p),
        ("context_scale", ctypes.c_void_p),
        ("context_bias", ctypes.c_void_p),
        ("residuals", ctypes.c_int64),
        ("first", ctypes.c_int64),
    )


class RangeTables(ctypes.Structure):
    """`Tables` in coder.cpp."""

    _fields_ = (
        ("starts", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("guesses", ctypes.c_void_p),
        ("radii", ctypes.c_void_p),
    )


class RangeEncoder(ctypes.Structure):
    """`Encoder` in coder.cpp."""

    _fields_ = (
        ("lower", ctypes.c_uint64),
        ("range", ctypes.c_uint64),
        ("bytes", ctypes.c_void_p),
        ("size", ctypes.c_int64),
    )


class RangeDecoder(ctypes.Structure):
    """`Decoder` in coder.cpp."""

    _fields_ = (
        ("offset", ctypes.c_uint64),
        ("range", ctypes.c_uint64),
        ("bytes", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("position", ctypes.c_int64),
    )


class Kernels:
    """One build of the C++ sources. Other threads run Python while its functions work."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._library = ctypes.CDLL(str(path))
        self.block = self._function("run_block", 8)
        self.rows = self._function("run_rows", 10)
        self.tell = self._function("run_tell", 8)
        self.double = self._function("run_double", 7)
        self.leave = self._function("run_leave", 6)
        self.encoder_block = self._function("run_encoder_block", 9)
        self.enter = self._function("run_enter", 6)
        self.halve = self._function("run_halve", 6)
        self.posterior = self._function("run_posterior", 10)
        self.round = self._function("run_round", 8)
        self.colours = self._function("run_colours", 10)
        self.grey = self._function("run_grey", 4)
        self.encode = self._function("run_encode", 6)
        self.decode = self._function("run_decode", 6, ctypes.c_int64)
        self.usable = bool(self._library.usable()) and name in _capabilities()
        """Whether this processor has the instructions, and torch is not told by ATEN_CPU_CAPABILITY to do without."""
        self.lanes, self.moved = self._library.lanes(), self._library.moved()
        self.narrow_group, self.wide_group = self._library.narrow_group(), self._library.wide_group()

    def in_pairs(self, channels: Tensor) -> Tensor:
        """`(…, C)` in the order of `low_pairs` and `high_pairs`; C a multiple of two times `lanes`."""
        halves = channels.view(*channels.shape[:-1], -1, self.lanes // 4, 2, 4)
        return halves.transpose(-2, -3).reshape(channels.shape)

    def narrow(self, weights: Tensor) -> Tensor:
        """Integers of 8 bits, `(N, K)`, as `product<Narrow>` reads them; N a multiple of `lanes`, K of the group."""
        dtype = torch.int8 if self.narrow_group == 4 else torch.int16
        return self._packed(weights, self.narrow_group, dtype)

    def wide(self, weights: Tensor) -> Tensor:
        """Integers of 16 bits as `product<Wide>` reads them."""
        return self._packed(weights, self.wide_group, torch.int16)

    def reals(self, weights: Tensor) -> Tensor:
        """Floats as `product<Reals>` reads them."""
        return self._packed(weights, 1, torch.float32)

    def _function(self, name: str, arguments: int, result: Any = None) -> Callable[..., Any]:
        """A function, all of whose arguments are integers: numbers, and addresses."""
        function = getattr(self._library, name)
        function.argtypes, function.restype = [ctypes.c_int64] * arguments, result
        return cast(Callable[..., Any], function)

    def _packed(self, weights: Tensor, group: int, dtype: torch.dtype) -> Tensor:
        outputs, inputs = weights.shape
        parts = weights.to(dtype).view(outputs // self.lanes, self.lanes, inputs // group, group)
        return parts.permute(0, 2, 1, 3).contiguous()


def _is_built_from_these(path: Path) -> bool:
    """Whether a library can be loaded, and says that it was built from the sources beside it."""
    try:
        function, expected = ctypes.CDLL(str(path)).sources, sources()
    except (OSError, AttributeError):
        return False
    function.restype = ctypes.c_int64
    return bool(function() == expected)


@cache
def sources() -> int:
    """The checksum of the sources beside this file; setup.py compiles it into each library."""
    return zlib.crc32(b"".join((FOLDER / name).read_bytes() for name in _SOURCES))


def _capabilities() -> tuple[str, ...]:
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return FASTEST_FIRST[FASTEST_FIRST.index(capability) :] if capability in FASTEST_FIRST else ()


@cache
def fastest_kernels() -> Kernels | None:
    """The fastest build that runs here; None where there is none."""
    return next((build for build in all_kernels().values() if build.usable), None)


def all_kernels() -> dict[str, Kernels]:
    """All builds of these sources by their names, the fastest first."""
    return {
        name: Kernels(name, path)
        for name in FASTEST_FIRST
        for path in FOLDER.glob(f"_kernels_{name}.*")
        if _is_built_from_these(path)
    }
