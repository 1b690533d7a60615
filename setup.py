"""Builds the C++ sources where there is a compiler, and puts `inspect_compress_pillow.pth` beside the packages.

All else is in pyproject.toml.
"""

import zlib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

START = """\
# Runs at every start of Python, and imports nothing but itself: .qarv files are made known to Pillow when that is
# imported. An error is not printed here: most programs that it would meet have nothing to do with .qarv files.
import sys; exec("try:\\n import inspect_compress_pillow as p\\n p.install()\\nexcept Exception:\\n pass")
"""


class BuildWithStart(build_py):
    """Builds the packages, and writes the file to the root of the wheel."""

    def run(self) -> None:
        super().run()
        # An editable wheel takes nothing from build_lib; where packages would be installed is the wheel itself.
        root = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        Path(root, "inspect_compress_pillow.pth").write_text(START, "ascii")


INSTRUCTIONS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
}
"""The builds; which of them is used is decided by the processor that it runs on."""


FOLDER = Path("inspect_compress/qarv")
NAMES = (
    *("kernels.cpp", "coder.cpp", "colours.cpp"),
    *("buffer.hpp", "filter.hpp", "pool.hpp", "product.hpp", "avx512.hpp", "avx2.hpp"),
)
FILES = [FOLDER / name for name in NAMES]
SOURCES = zlib.crc32(b"".join(file.read_bytes() for file in FILES))
"""Is compiled in: qarv/kernels.py takes no library that was built from others than those beside it."""


def kernels(name: str) -> Extension:
    """A library that is loaded by ctypes. Nothing needs it: where it cannot be built, torch computes the same."""
    return Extension(
        f"inspect_compress.qarv._kernels_{name}",
        [str(file) for file in FILES if file.suffix == ".cpp"],
        depends=[str(file) for file in FILES],
        define_macros=[("SOURCES", str(SOURCES))],
        extra_compile_args=["-O3", "-g0", "-std=c++17", "-ffp-contract=off", "-pthread", *INSTRUCTIONS[name]],
        extra_link_args=["-pthread"],
        optional=True,
    )


setup(cmdclass={"build_py": BuildWithStart}, ext_modules=[kernels(name) for name in INSTRUCTIONS])
