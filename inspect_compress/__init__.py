"""A learned image codec for inspection frames.

>>> from inspect_compress import load_codec
>>> codec = load_codec("qarv")
>>> data = codec.encode(image, quality=60)
>>> image = codec.decode(data)
"""

from inspect_compress.codecs import Codec, codec_names, load_codec
from inspect_compress.errors import InspectCompressError
from inspect_compress.images import Image, read_image, write_png
from inspect_compress_pillow import install

__all__ = ["Codec", "Image", "InspectCompressError", "codec_names", "load_codec", "read_image", "write_png"]

install()  # done at the start of Python already, but where .pth files are not read, as below a PYTHONPATH
