"""Makes Pillow know `.qarv` files without an import by the user: a `.pth` file (setup.py) runs this at every start.

Pillow has no entry points, so the format is registered as soon as `PIL.Image` has been imported, by whomever. Every
Python process of the environment pays for this module: it imports nothing but `sys`, and what it registers loads
`inspect_compress/pillow_plugin.py` only when a `.qarv` file is met.
"""

import sys

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import IO, Any

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

FORMAT = "QARV"
SUFFIX = ".qarv"
MIME_TYPE = "image/x-qarv"
MAGIC = b"QRV"

_PILLOW = "PIL.Image"


def install() -> None:
    """Register the format now where Pillow is imported already, and at every import of Pillow from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if _PILLOW in sys.modules:
        register(sys.modules[_PILLOW])


def register(pillow: "ModuleType") -> None:
    """Tell the module `PIL.Image` how `.qarv` files are recognised, opened and written."""
    pillow.register_open(FORMAT, _open, _accept)
    pillow.register_save(FORMAT, _save)
    pillow.register_extension(FORMAT, SUFFIX)
    pillow.register_mime(FORMAT, MIME_TYPE)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _open(file: "IO[bytes]", filename: str | bytes) -> "ImageFile":
    from inspect_compress.pillow_plugin import QarvImageFile

    return QarvImageFile(file, filename)


def _save(image: "Image", file: "IO[bytes]", filename: str | bytes) -> None:
    from inspect_compress.pillow_plugin import save

    save(image, file)


class _Finder:
    """Finds `PIL.Image` as the other finders do, and has the format registered once it has been executed."""

    def __init__(self) -> None:
        self._asking = False  # a finder that asks all others, as this one does, must not be asked for ever

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name != _PILLOW or self._asking:
            return None
        self._asking = True
        try:
            spec = _find(sys.meta_path, name, path, target)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


def _find(
    finders: "Sequence[Any]", name: str, path: "Sequence[str] | None", target: "ModuleType | None"
) -> "ModuleSpec | None":
    for finder in finders:
        spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
        if spec is not None:
            return spec
    return None


class _Loader:
    """The module's own loader, but for what follows the execution."""

    def __init__(self, loader: "Loader") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def exec_module(self, module: "ModuleType") -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        try:  # noqa: SIM105 - contextlib would have to be imported
            register(module)
        except Exception:  # noqa: S110
            # Whoever imports Pillow here may never have heard of this package: better no `.qarv` than no Pillow.
            pass
