"""Puts `inspect_compress_pillow.pth` into wheels and editable installs, beside the packages: pyproject.toml cannot.

All else is in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup
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


setup(cmdclass={"build_py": BuildWithStart})
