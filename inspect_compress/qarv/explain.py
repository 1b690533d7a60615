"""Where the bits of a `.qarv` file went, and how far its picture is from its original: the numbers, no drawing."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import ImageError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.files import read_file
from inspect_compress.images import Image, read_8_bit_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.coding import PlaceBits
from inspect_compress.qarv.container import Header
from inspect_compress.qarv.container_reader import read_container
from inspect_compress.qarv.describe import errors_of, facts_of
from inspect_compress.qarv.lapped import BLOCK
from inspect_compress.qarv.lmbda_map import LmbdaMap, grid, quality_of, read_map
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.weights import installed_model

BUSIEST = 0.1
"""Share of the blocks that are called the busiest."""


@dataclass(frozen=True)
class Loss:
    """What was cut: `absolute` are grey levels, `uint8` `(H, W)`, of colour the largest of R, G and B.

    `psnr`, in dB, is infinite where the pictures are equal.
    """

    absolute: Image
    psnr: float
    ms_ssim: float


@dataclass(frozen=True)
class Explanation:
    """A file, taken apart.

    `picture`: what it decodes to. `block_bits`: float64, one for each block of 8×8 pixels, those at the right and
    at the bottom being cut by the picture. `level_bits`: by stride. Both have the same sum: the bits that the
    model's tables charge for all symbols, which the bytes of the levels come to. `indexes`: λ's, one for each cell
    of stride 32, of which the first begins `margin` pixels before the picture. `described`: what `describe` says.
    `loss`: None without an original.
    """

    name: str
    picture: Image
    block_bits: NDArray[np.float64]
    level_bits: dict[int, float]
    indexes: LmbdaMap
    margin: int
    described: dict[str, Any]
    loss: Loss | None

    @cached_property
    def bits_per_pixel(self) -> NDArray[np.float64]:
        """`block_bits` over the pixels that each block has in the picture."""
        heights, widths = (np.diff(_edges(side)) for side in self.picture.shape[:2])
        return self.block_bits / np.outer(heights, widths)

    @property
    def header_bytes(self) -> int:
        """All that is not a level's stream nor the map of λ: header, lengths, checks."""
        streams = sum(level["bytes"] for level in self.described["levels"])
        return int(self.described["bytes"] - streams - self.map_bytes)

    @property
    def map_bytes(self) -> int:
        """Of the map of λ; 0 where λ is the same everywhere."""
        return int((self.described["lmbda_map"] or {"bytes": 0})["bytes"])

    @property
    def qualities(self) -> tuple[int, int]:
        """The lowest and the highest, 1 to 100, to the nearest."""
        return quality_of(int(self.indexes.min())), quality_of(int(self.indexes.max()))

    @property
    def busiest_share(self) -> float:
        """The share of the bits that the busiest 10 % of the blocks have, at least one block."""
        count = math.ceil(BUSIEST * self.block_bits.size)
        busiest = np.sort(self.block_bits, axis=None)[-count:]
        return float(busiest.sum() / self.block_bits.sum())

    def facts(self) -> dict[str, Any]:
        """What `describe` says, and the numbers, as a JSON-ready dict.

        Bits are those of the model's tables. Where there is no original, `psnr` and what follows it are None;
        `psnr` also where the picture equals it.
        """
        loss = self.loss
        levels = [level | {"bits": round(self.level_bits[level["stride"]], 1)} for level in self.described["levels"]]
        return self.described | {
            "levels": levels,
            "qualities": list(self.qualities),
            "header_bytes": self.header_bytes,
            "symbol_bits": round(float(self.block_bits.sum()), 1),
            "largest_block_bpp": round(float(self.bits_per_pixel.max()), 4),
            "busiest_tenth_share": round(self.busiest_share, 4),
            "psnr": round(loss.psnr, 4) if loss and math.isfinite(loss.psnr) else None,
            "ms_ssim": round(loss.ms_ssim, 6) if loss else None,
            "mean_error": round(float(loss.absolute.mean()), 4) if loss else None,
            "largest_error": int(loss.absolute.max()) if loss else None,
        }


def explain(path: Path, original: Path | None = None) -> Explanation:
    """Decode a `.qarv` file and account for its bits; with the image that it was made from, for its errors too.

    Raises ImageError and FormatError, which name the file.
    """
    with errors_of(path):
        data = read_file(path)
        described, header = facts_of(data), read_container(data).header
        source = _original(original, path, header) if original else None
        margin = installed_model(header.model).network.shape.margin
        cells = grid(header.height, header.width, margin)
        indexes = read_map(header.lmbda_index, header.lmbda_map, cells)
        picture, places = QarvCodec().decode_and_count(data)
    return Explanation(
        path.name,
        picture,
        bits_of_blocks(places, header, margin),
        {stride: float(sum(part[stride].sum() for part in places)) for stride in STRIDES},
        indexes,
        margin,
        described,
        None if source is None else _loss(source, picture),
    )


def bits_of_blocks(parts: list[PlaceBits], header: Header, margin: int) -> NDArray[np.float64]:
    """The bits of places, of all planes and strides, as a map over the picture's blocks; see Explanation.

    The bits of a place are spread evenly over the pixels that it stands for; `margin` is that of the network's shape.
    """
    total = np.zeros([len(_edges(side)) - 1 for side in (header.height, header.width)])
    for number, part in enumerate(parts):
        pixels = 2 if header.halved and number else 1
        for stride, bits in part.items():
            down = _shares(bits.shape[0], stride, pixels, header.height, margin)
            across = _shares(bits.shape[1], stride, pixels, header.width, margin)
            total += down.T @ bits @ across
    return total


def _shares(places: int, stride: int, pixels: int, side: int, margin: int) -> NDArray[np.float64]:
    """Along one axis, the share of each place's bits that each block has, `(places, blocks)`.

    `pixels`: how many of the picture's a sample of the plane stands for. Places are cut by the picture at its
    beginning; at its end, where nearly nothing might be left, they are moved back until they end with it.
    """
    edges, length = _edges(side), stride * pixels
    starts = np.minimum((np.arange(places)[:, None] * stride - margin) * pixels, side - length)
    shared = np.minimum(starts + length, edges[1:]) - np.maximum(starts, edges[:-1])
    shared = shared.clip(min=0)
    return shared / shared.sum(axis=1, keepdims=True)


def _edges(side: int) -> NDArray[np.int64]:
    """Where the blocks along a side begin, and the side."""
    return np.append(np.arange(0, side, BLOCK), side)


def _original(path: Path, compressed: Path, header: Header) -> Image:
    image = read_8_bit_image(path)
    channels = 1 if image.ndim == 2 else 3
    if (*image.shape[:2], channels) != (header.height, header.width, header.channels):
        raise ImageError(
            f"{path}: has {_kind(image.shape[1], image.shape[0], channels)} and {compressed} "
            f"{_kind(header.width, header.height, header.channels)}; give the image that it was made from"
        )
    return image


def _kind(width: int, height: int, channels: int) -> str:
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'} pixels"


def _loss(original: Image, picture: Image) -> Loss:
    absolute = np.maximum(original, picture) - np.minimum(original, picture)
    absolute = absolute if absolute.ndim == 2 else absolute.max(axis=2)
    return Loss(absolute, psnr(original, picture), ms_ssim(original, picture))
