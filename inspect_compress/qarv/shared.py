"""One QARV codec for a whole process, made when its first pixel is needed: the plug-ins into other libraries use it.

Importing this module does not import torch.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspect_compress.qarv.codec import QarvCodec

DEFAULT_QUALITY = 60
"""Where a caller names none; the command line's default too."""


@cache
def shared_codec() -> "QarvCodec":
    """The codec with the default model. It is safe to use from several threads."""
    from inspect_compress.qarv.codec import QarvCodec

    return QarvCodec()
