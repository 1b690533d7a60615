"""A second decoder of `.qarv` files, written from `docs/format.md` alone and in numpy, slow and plain.

It proves that the document is enough, and is what other decoders are checked against.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import constriction
import google_crc32c
import numpy as np
import safetensors.numpy

Array = np.ndarray[Any, Any]

STRIDES = (32, 16, 8)
HEADER_BYTES = 42
CHECKSUM_BYTES = 4
LARGEST_SIDE = 8192
BORDER = 4
PATCH = 16
LARGEST_FEATURE = 32639
LARGEST_IN_BLOCK = 127
LARGEST_CONTEXT = 4
TABLE_COUNT = 64
TABLE_TOTAL = 2**24
ESCAPE_BASE = 4096


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    samples: int
    model: bytes
    lmbda_index: int
    lengths: tuple[int, ...]
    symbol_checksums: tuple[int, ...]

    @property
    def colour(self) -> bool:
        return bool(self.samples & 1)

    @property
    def halved(self) -> bool:
        return bool(self.samples >> 5 & 1)


def read_header(data: bytes) -> Header:
    if data[:3] != b"QRV" or len(data) < 4:
        raise ValueError("damaged: not a .qarv file")
    if data[3] != 1:
        raise ValueError("unknown version: only version 1 is known")
    if len(data) < HEADER_BYTES + CHECKSUM_BYTES:
        raise ValueError("damaged: shorter than its header")
    width, height, samples, model, index, *levels = struct.unpack_from("<HHB8sB6I", data, 4)
    header = Header(width + 1, height + 1, samples, model, index, tuple(levels[0::2]), tuple(levels[1::2]))
    check_file(data, header)
    check_samples(header)
    return header


def check_file(data: bytes, header: Header) -> None:
    if HEADER_BYTES + sum(header.lengths) + CHECKSUM_BYTES != len(data):
        raise ValueError("damaged: the lengths do not sum to the size of the file")
    if struct.unpack("<I", data[-CHECKSUM_BYTES:])[0] != google_crc32c.value(data[:-CHECKSUM_BYTES]):
        raise ValueError("damaged: the checksum does not match")
    if any(length % 4 for length in header.lengths):
        raise ValueError("damaged: a level is not a whole number of words")


def check_samples(header: Header) -> None:
    if header.samples >> 6 or (header.halved and not header.colour):
        raise ValueError("unknown version: unknown bits of the samples")
    if header.samples >> 1 & 15 != 7:
        raise ValueError("unknown version: the samples are not of 8 bits")
    if max(header.width, header.height) > LARGEST_SIDE:
        raise ValueError(f"unknown version: a side over {LARGEST_SIDE}")


@dataclass(frozen=True)
class Tensors:
    """The tensors of the weight file whose names begin with a prefix."""

    tensors: dict[str, Array]
    prefix: str = ""

    def __getitem__(self, name: str) -> Array:
        return self.tensors[self.prefix + name]

    def integers(self, name: str) -> Array:
        return self[name].astype(np.int64)

    def under(self, prefix: str) -> Tensors:
        return Tensors(self.tensors, self.prefix + prefix)

    def blocks(self) -> list[Tensors]:
        blocks: list[Tensors] = []
        while f"{self.prefix}{len(blocks)}.up" in self.tensors:
            blocks.append(self.under(f"{len(blocks)}."))
        return blocks


@dataclass(frozen=True)
class Model:
    tensors: Tensors
    shape: dict[str, Any]
    tables: list[Array]


def read_model(weights: Path, fingerprint: bytes) -> Model:
    data = weights.read_bytes()
    if hashlib.sha256(data).digest()[:8] != fingerprint:
        raise ValueError(f"unknown model: {fingerprint.hex()} is not {weights.name}")
    metadata = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])["__metadata__"]
    if metadata.get("arithmetic") != "exact":
        raise ValueError("unknown model: its arithmetic is not exact")
    tensors = Tensors(safetensors.numpy.load(data))
    return Model(tensors, json.loads(metadata["shape"]), cut_tables(tensors["tables"]))


def cut_tables(tables: Array) -> list[Array]:
    ends = np.flatnonzero(np.cumsum(tables, dtype=np.int64) % TABLE_TOTAL == 0) + 1
    return np.split(tables, ends[:-1])


def image_of_mono(plane: Array) -> Array:
    return to_bytes(plane * np.float32(255))


def to_bytes(samples: Array) -> Array:
    return np.clip(np.rint(samples), 0, 255).astype(np.uint8)


def doubled_plane(plane: Array, height: int, width: int) -> Array:
    return doubled_rows(doubled_rows(plane).T).T[:height, :width]


def doubled_rows(plane: Array) -> Array:
    near, far = np.float32(0.75), np.float32(0.25)
    before = np.concatenate([plane[:1], plane[:-1]])
    after = np.concatenate([plane[1:], plane[-1:]])
    pairs = np.stack([near * plane + far * before, near * plane + far * after], axis=1)
    return pairs.reshape(-1, plane.shape[1])


def image_of_colour(planes: list[Array]) -> Array:
    y, u, v = (plane.astype(np.float64) for plane in planes)
    u, v = u - 0.5, v - 0.5
    root_6, root_18 = 6**0.5, 18**0.5
    matrix = [[1 / 3, 1 / 3, 1 / 3], [1 / root_6, 0, -(1 / root_6)], [1 / root_18, -2 / root_18, 1 / root_18]]
    factors = (np.array(matrix) * 3) * 255
    return np.stack([to_bytes((a * y + b * u) + c * v) for a, b, c in factors.T], axis=-1)


def to_float32(values: Array) -> Array:
    return values.astype(np.float32)


def clamped(values: Array, largest: int) -> Array:
    """round to integers, half to even, and clamp to -largest … largest"""
    return np.clip(np.rint(values), -largest, largest).astype(np.int64)


def at_positions_of_step(features: Array, step: int) -> Array:
    rows, columns = np.indices(features.shape[1:3])
    return (rows + columns) % 2 == step


class TopDownPath:
    """The features of planes that are coded together, all with one λ index: planes × H × W × C."""

    def __init__(self, model: Model, lmbda_index: int, levels: dict[int, Level]) -> None:
        self.tensors = model.tensors
        self.shape = model.shape
        self.index = lmbda_index
        self.levels = levels

    def planes(self, count: int, height: int, width: int) -> list[Array]:
        extended = [math.ceil((side + 2 * BORDER) / 32) for side in (height, width)]
        start = self.tensors.integers("start")
        features = np.tile(start, (count, *extended, 1))
        for stride in STRIDES:
            features = self.pass_stride(features, stride)
        for block in self.tensors.under("out.").blocks():
            features = self.pass_block(features, block)
        planes = synthesis(features, self.tensors.under("leave."))
        return [plane[BORDER : BORDER + height, BORDER : BORDER + width] for plane in planes]

    def pass_stride(self, features: Array, stride: int) -> Array:
        if stride != 32:
            features = double(features, self.tensors.under(f"double_{stride}."))
        for group, first_channel in enumerate(self.shape[f"groups_{stride}"][:-1]):
            latent = self.tensors.under(f"latents_{stride}.{group}.")
            for step in (0, 1):
                for block in latent.under("blocks.").blocks()[step::2]:
                    features = self.pass_block(features, block)
                positions = at_positions_of_step(features, step)
                features_there = features[:, positions]
                symbols = self.levels[stride].read(self.rows(features_there, latent, step))
                features[:, positions] = self.tell(features_there, symbols, latent, first_channel)
        return features

    def pass_block(self, features: Array, block: Tensors) -> Array:
        y = depthwise(features, block)
        normalised = normalise(y, block["least_power"])
        scale = to_float32(block["scale"][self.index])
        h = clamped(normalised * scale, LARGEST_IN_BLOCK)
        up = block.integers("up")
        shift = (block.integers("shift")[self.index] @ up.T).astype(np.float64)
        bias = block.integers("up_bias") + np.rint(shift / 64).astype(np.int64)
        sums = (h @ up.T + bias).astype(np.float64)
        u = np.ldexp(sums, -block.integers("up_exponent")) + 0.5
        hidden = np.clip(u, 0, LARGEST_IN_BLOCK).astype(np.int64)
        change = to_float32(hidden @ block.integers("down").T) * block["down_scale"]
        return clamped((change + block["down_bias"]) + to_float32(features), LARGEST_FEATURE)

    def rows(self, features: Array, latent: Tensors, step: int) -> Array:
        sums = to_float32(features @ latent.integers(f"row.{step}.weight").T)
        rows = sums * latent[f"row.{step}.scale"] + latent[f"row_table.{step}"][self.index]
        return np.clip(np.rint(rows), 0, TABLE_COUNT - 1).astype(np.int64)

    def tell(self, features: Array, symbols: Array, latent: Tensors, first_channel: int) -> Array:
        values = clamped(to_float32(symbols) * latent["step"][self.index], LARGEST_FEATURE)
        back = to_float32(values @ latent.integers("back.weight").T) * latent["back.scale"]
        told = back + to_float32(context(symbols, latent))
        told[..., first_channel : first_channel + symbols.shape[-1]] += to_float32(values)
        return clamped(told + to_float32(features), LARGEST_FEATURE)


def depthwise(features: Array, block: Tensors) -> Array:
    """y in float64, which holds it exactly"""
    _, height, width, _ = features.shape
    padded = np.pad(features, ((0, 0), (2, 2), (2, 2), (0, 0)))
    kernel = block.integers("depthwise")[:, 0]
    sums = np.zeros_like(features) + block.integers("depthwise_bias")
    for dy in range(5):
        for dx in range(5):
            sums += kernel[:, dy, dx] * padded[:, dy : dy + height, dx : dx + width]
    return np.ldexp(sums.astype(np.float64), -block.integers("depthwise_exponent"))


def normalise(y: Array, least_power: Array) -> Array:
    q = np.rint(y).astype(np.int64)
    k = np.float64(1) / y.shape[-1]
    m = q.sum(axis=-1, keepdims=True).astype(np.float64) * k
    squares = to_float32(q * q).astype(np.int64)
    v = squares.sum(axis=-1, keepdims=True).astype(np.float64) * k
    d = np.sqrt((v - m * m) + least_power)
    return (to_float32(y) - to_float32(m)) * to_float32(1 / d)


def context(symbols: Array, latent: Tensors) -> Array:
    near = np.clip(symbols, -LARGEST_CONTEXT, LARGEST_CONTEXT)
    both = np.concatenate([near, np.abs(near)], axis=-1)
    sums = both @ latent.integers("context").T + latent.integers("context_bias")
    return np.ldexp(sums.astype(np.float64), -latent.integers("context_exponent"))


def double(features: Array, tensors: Tensors) -> Array:
    count, height, width, _ = features.shape
    sums = to_float32(features @ tensors.integers("weight").T)
    values = clamped(sums * tensors["scale"] + tensors["bias"], LARGEST_FEATURE)
    fine = values.reshape(count, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return fine.reshape(count, 2 * height, 2 * width, -1)


def synthesis(features: Array, leave: Tensors) -> Array:
    count, rows, columns, _ = features.shape
    sums = to_float32(features @ leave.integers("weight").T)
    patches = np.rint(sums * leave["scale"]).astype(np.int64).reshape(count, rows, columns, PATCH, PATCH)
    half, height, width = PATCH // 2, rows * PATCH // 2, columns * PATCH // 2
    canvas = np.zeros((count, height + half, width + half), np.int64)
    for top in (0, half):
        for left in (0, half):
            quarters = patches[..., top : top + half, left : left + half].transpose(0, 1, 3, 2, 4)
            canvas[:, top : top + height, left : left + width] += quarters.reshape(count, height, width)
    total = canvas[:, BORDER:-BORDER, BORDER:-BORDER] + leave["bias"].astype(np.float64)
    return to_float32(total) * np.float32(1 / 65280)


class Level:
    """The symbols of one stride, read batch by batch."""

    def __init__(self, stream: bytes, tables: list[Array]) -> None:
        self.decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(stream, "<u4").astype(np.uint32))
        self.models = [categorical(table) for table in tables]
        self.largest_symbols = [len(table) // 2 - 1 for table in tables]
        self.uniform = categorical(np.full(ESCAPE_BASE, TABLE_TOTAL // ESCAPE_BASE))
        self.checksum = 0

    def read(self, rows: Array) -> Array:
        symbols = self.read_batch(rows.ravel())
        self.checksum = google_crc32c.extend(self.checksum, symbols.astype("<i4").tobytes())
        return symbols.reshape(rows.shape)

    def read_batch(self, rows: Array) -> Array:
        symbols = np.zeros(len(rows), np.int64)
        escaped = np.zeros(len(rows), bool)
        for row in np.unique(rows):
            places = np.flatnonzero(rows == row)
            entries = self.read_entries(self.models[row], len(places))
            symbols[places] = entries - self.largest_symbols[row]
            escaped[places] = entries == 2 * self.largest_symbols[row] + 1
        for place in np.flatnonzero(escaped):
            symbols[place] = self.read_escaped()
        return symbols

    def read_escaped(self) -> Any:
        high, low = self.read_entries(self.uniform, 2)
        n = ESCAPE_BASE * high + low
        return -(n + 1) // 2 if n % 2 else n // 2

    def read_entries(self, model: Any, count: int) -> Array:
        try:
            return self.decoder.decode(model, count).astype(np.int64)
        except AssertionError as error:
            raise ValueError("lost step: a level's words are not those of its symbols") from error


def categorical(table: Array) -> Any:
    return constriction.stream.model.Categorical(table.astype(np.float64) / TABLE_TOTAL, perfect=False, lazy=False)


def read_levels(data: bytes, header: Header, tables: list[Array]) -> dict[int, Level]:
    ends = HEADER_BYTES + np.cumsum(header.lengths)
    streams = [data[end - length : end] for end, length in zip(ends, header.lengths, strict=True)]
    return {stride: Level(stream, tables) for stride, stream in zip(STRIDES, streams, strict=True)}


def decode_planes(header: Header, model: Model, levels: dict[int, Level]) -> list[Array]:
    height, width = header.height, header.width
    path = TopDownPath(model, header.lmbda_index, levels)
    if not header.halved:
        return [path.planes(1, height, width)[0] for _ in range(3 if header.colour else 1)]
    halved_index = min(header.lmbda_index + int(model.tensors["halved_steps"]), 255)
    luma = path.planes(1, height, width)
    halved = TopDownPath(model, halved_index, levels).planes(2, (height + 1) // 2, (width + 1) // 2)
    return luma + [doubled_plane(plane, height, width) for plane in halved]


def check_symbols(header: Header, levels: dict[int, Level]) -> None:
    for (stride, level), expected in zip(levels.items(), header.symbol_checksums, strict=True):
        if level.checksum != expected:
            raise ValueError(f"lost step: the symbols of stride {stride} do not match their checksum")


def decode(data: bytes, weights: Path) -> Array:
    header = read_header(data)
    model = read_model(weights, header.model)
    levels = read_levels(data, header, model.tables)
    planes = decode_planes(header, model, levels)
    check_symbols(header, levels)
    return image_of_colour(planes) if header.colour else image_of_mono(planes[0])


def main() -> None:
    file, weights, out = map(Path, sys.argv[1:])
    np.save(out, decode(file.read_bytes(), weights))


if __name__ == "__main__":
    main()
