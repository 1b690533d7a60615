"""What a codec is, and how one is found by name. The codecs themselves live in their own modules.

Codecs are entry points of the group `inspect_compress.codecs`, so any installed package can add one.
"""

import math
from operator import index
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from inspect_compress.errors import ConfigError
from inspect_compress.images import Image
from inspect_compress.plugins import load_plugin, plugin_names

if TYPE_CHECKING:
    from inspect_compress.demand import Demand

GROUP = "inspect_compress.codecs"


class Codec(Protocol):
    """Turns images into bytes and back. An instance is safe to use from several threads.

    `decode(encode(image, quality=q))` has the shape and dtype of `image`. The bytes are a whole file of
    the codec's format: what is written to disk, counted as bpp and stored in the archive.

    A codec that is lossless says from which quality on, in an attribute `lossless_from`; see `is_lossless`. One with
    several models has a class method `with_model(fingerprint)`, which returns the codec that encodes with that one.
    """

    codec_id: str
    """The name under which the codec is registered, e.g. `jpeg`."""
    suffix: str
    """The file name suffix of its format, e.g. `.jpg`."""
    model: str
    """Fingerprint of the weights (16 hex digits); empty for codecs without any."""

    def encode(self, image: Image, *, quality: int) -> bytes:
        """Compress a `uint8` image, `(H, W)` or `(H, W, 3)`; `quality` 1 to 100, higher is better.

        A codec may take `uint16` mono, `(H, W)`, as well; where it does not, it raises ImageError.
        """
        ...

    def decode(self, data: bytes) -> Image:
        """Return the image in `data`. Raises DamagedFileError for bytes that are not a sound file."""
        ...


class Coded(Protocol):
    """A file, and the picture that its encoder says it decodes to."""

    @property
    def data(self) -> bytes: ...

    @property
    def reconstruction(self) -> Image: ...


@runtime_checkable
class ScalableCodec(Codec, Protocol):
    """A codec that also meets demands other than a quality, and decodes previews from a file's first levels."""

    def draft(self, image: Image, demand: "Demand") -> Coded:
        """Compress an image as `demand` says. Raises ConfigError where that is impossible."""
        ...

    def decode(self, data: bytes, *, levels: int | None = None) -> Image: ...


def is_lossless(codec: Codec, quality: int) -> bool:
    """Whether a codec says that it returns the image itself at this quality."""
    return quality >= getattr(codec, "lossless_from", math.inf)


def load_codec(name: str, *, model: str = "") -> Codec:
    """Return a codec by name; with `model`, the beginning of a fingerprint, one that encodes with that model.

    Raises ConfigError, with the list of known names, for an unknown one, and for a model where the codec has none;
    UnknownModelError and ModelError where the model is not installed, or retired.
    """
    kind = load_plugin(GROUP, name, kind="codec")
    if not model:
        return kind()
    if not hasattr(kind, "with_model"):
        raise ConfigError(f"codec {name}: has no models to choose from; leave model {model} out")
    return kind.with_model(model)


def codec_names() -> list[str]:
    """The names of all installed codecs, sorted."""
    return plugin_names(GROUP)


def check_quality(quality: int) -> int:
    """Return `quality` where it is a whole number from 1 to 100. Raises ConfigError otherwise."""
    try:
        value = index(quality)
    except TypeError as error:
        raise ConfigError(f"quality {quality!r}: must be a whole number from 1 to 100") from error
    if not 1 <= value <= 100:
        raise ConfigError(f"quality {value}: must be 1 to 100")
    return value
