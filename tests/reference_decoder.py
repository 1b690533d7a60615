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
CHECKSUM_BYTES = 4
CHECK_BYTES = 2
VARINT_BYTES = 5
LARGEST_SIDE = 8192
BORDER = 4
PATCH = 16
LARGEST_FEATURE = 32639
LARGEST_IN_BLOCK = 127
LARGEST_CONTEXT = 4
LARGEST_INDEX = 255
TABLE_COUNT = 64
TABLE_TOTAL = 2**24
ESCAPE_BASE = 4096


@dataclass(frozen=True)
class Place:
    """Where a level lies in the file."""

    stream: slice
    check: slice

    @property
    def end(self) -> int:
        return max(self.stream.stop, self.check.stop)


@dataclass(frozen=True)
class Header:
    version: int
    width: int
    height: int
    samples: int
    model: bytes
    lmbda_index: int
    lmbda_map: bytes
    checked: bytes
    """what each check covers before the symbols"""
    places: tuple[Place, ...]

    @property
    def colour(self) -> bool:
        return bool(self.samples & 1)

    @property
    def halved(self) -> bool:
        return bool(self.samples >> 5 & 1)

    @property
    def mapped(self) -> bool:
        return has_map(self.samples)


def has_map(samples: int) -> bool:
    return bool(samples >> 6 & 1)


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        if self.position + count > len(self.data):
            raise ValueError("damaged: shorter than its header")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def varint(self) -> int:
        value = 0
        for place in range(VARINT_BYTES):
            byte = self.number(1)
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value
        raise ValueError(f"damaged: a varint of more than {VARINT_BYTES} bytes")


def read_header(data: bytes, levels: int | None) -> Header:
    """the header of a whole file, or of the beginning of one that has so many levels"""
    if data[:3] != b"QRV" or len(data) < 4:
        raise ValueError("damaged: not a .qarv file")
    if data[3] not in (1, 2):
        raise ValueError("unknown version: only versions 1 and 2 are known")
    reader = Reader(data)
    reader.take(4)
    header = read_version_1(reader) if data[3] == 1 else read_version_2(reader)
    if levels is None:
        check_file(data, header)
    elif header.places[levels - 1].end > len(data):
        raise ValueError("damaged: shorter than its levels")
    check_samples(header)
    return header


def read_version_1(reader: Reader) -> Header:
    width, height, samples = reader.number(2) + 1, reader.number(2) + 1, reader.number(1)
    model, index = reader.take(8), reader.number(1)
    lengths, checks = [], []
    for _ in STRIDES:
        lengths.append(reader.number(4))
        checks.append(slice(reader.position, reader.position + CHECKSUM_BYTES))
        reader.take(CHECKSUM_BYTES)
    if any(length % 4 for length in lengths):
        raise ValueError("damaged: a level is not a whole number of words")
    ends = [reader.position + sum(lengths[: count + 1]) for count in range(len(lengths))]
    streams = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    return Header(1, width, height, samples, model, index, b"", b"", tuple(map(Place, streams, checks)))


def read_version_2(reader: Reader) -> Header:
    samples, model, index = reader.number(1), reader.take(4), reader.number(1)
    width, height = reader.varint() + 1, reader.varint() + 1
    lmbda_map = reader.take(reader.varint()) if has_map(samples) else b""
    checked = reader.data[: reader.position]
    lengths = [reader.varint() for _ in STRIDES]
    places, start = [], reader.position
    for length in lengths:
        end = start + length
        places.append(Place(slice(start, end), slice(end, end + CHECK_BYTES)))
        start = end + CHECK_BYTES
    return Header(2, width, height, samples, model, index, lmbda_map, checked, tuple(places))


def check_file(data: bytes, header: Header) -> None:
    if header.places[-1].end + CHECKSUM_BYTES != len(data):
        raise ValueError("damaged: the lengths do not sum to the size of the file")
    if struct.unpack("<I", data[-CHECKSUM_BYTES:])[0] != google_crc32c.value(data[:-CHECKSUM_BYTES]):
        raise ValueError("damaged: the checksum does not match")


def check_samples(header: Header) -> None:
    unknown = header.samples >> (6 if header.version == 1 else 7)
    if unknown or (header.halved and not header.colour):
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

    @property
    def folded(self) -> bool:
        return bool(self.shape.get("folded", False))

    def positions(self, stride: int, height: int, width: int) -> tuple[int, int]:
        """rows and columns of positions of a plane"""
        if self.folded:
            return math.ceil(height / stride), math.ceil(width / stride)
        rows, columns = (math.ceil((side + 2 * BORDER) / 32) * 32 // stride for side in (height, width))
        return rows, columns


def read_model(weights: Path, fingerprint: bytes) -> Model:
    data = weights.read_bytes()
    if not hashlib.sha256(data).digest().startswith(fingerprint):
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


def read_cells(header: Header, model: Model) -> Array:
    """the λ index of each cell of the picture"""
    shape = model.positions(32, header.height, header.width)
    if not header.mapped:
        return np.full(shape, header.lmbda_index)
    reader = Reader(header.lmbda_map)
    others = reader.take(reader.number(1))
    if not others:
        raise ValueError("damaged: a palette of nothing")
    palette = np.array([header.lmbda_index, *others])
    stream = header.lmbda_map[reader.position :]
    return palette[read_numbers(Stream(words_of(stream, header.version)), shape, len(others))]


def read_numbers(stream: Stream, shape: tuple[int, int], largest: int) -> Array:
    alike, unlike = (categorical(np.array(parts) / 16) for parts in ([15, 1], [7.5, 7.5, 1]))
    uniform = constriction.stream.model.Uniform(largest + 1)
    numbers = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)
    for row, column in np.ndindex(shape):
        left, above = numbers[row + 1, column], numbers[row, column + 1]
        known = [left] if left == above else [left, above]
        entry = stream.read_entries(alike if left == above else unlike, 1)[0]
        number = known[entry] if entry < len(known) else stream.read_entries(uniform, 1)[0]
        numbers[row + 1, column + 1] = number
    return numbers[1:, 1:]


def halved_cells(cells: Array, shape: tuple[int, int]) -> Array:
    """the largest λ index of 2×2 cells, for each of so many cells of halved planes"""
    rows, columns = ([2 * np.arange(side) + d for d in (0, 1)] for side in shape)
    last_row, last_column = cells.shape[0] - 1, cells.shape[1] - 1
    four = [cells[np.ix_(np.minimum(r, last_row), np.minimum(c, last_column))] for r in rows for c in columns]
    return np.max(four, axis=0)


class TopDownPath:
    """The features of planes that are coded together, with the same λ indexes: planes × H × W × C."""

    def __init__(self, model: Model, cells: Array, levels: dict[int, Level | MissingLevel], all_coded: bool) -> None:
        self.model = model
        self.tensors = model.tensors
        self.shape = model.shape
        self.cells = cells
        self.levels = levels
        self.all_coded = all_coded

    def planes(self, count: int, height: int, width: int) -> list[Array]:
        start = self.tensors.integers("start")
        features = np.tile(start, (count, *self.cells.shape, 1))
        for stride in STRIDES:
            features = self.pass_stride(features, stride, height, width)
        for block in self.tensors.under("out.").blocks():
            features = pass_block(features, block, self.indexes(features, STRIDES[-1]))
        planes = synthesis(features, self.tensors.under("leave."), self.model.folded)
        first = 0 if self.model.folded else BORDER
        return [plane[first : first + height, first : first + width] for plane in planes]

    def indexes(self, features: Array, stride: int) -> Array:
        """the λ index of each position"""
        rows, columns = (np.arange(side) * stride // 32 for side in features.shape[1:3])
        return self.cells[np.ix_(rows, columns)]

    def coded(self, features: Array, stride: int, height: int, width: int) -> Array:
        """whether each position is coded"""
        rows, columns = np.indices(features.shape[1:3])
        inside = (rows <= (height + 7) // stride) & (columns <= (width + 7) // stride)
        return inside | (self.all_coded or self.model.folded)

    def pass_stride(self, features: Array, stride: int, height: int, width: int) -> Array:
        if stride != 32:
            rows, columns = self.model.positions(stride, height, width)
            features = double(features, self.tensors.under(f"double_{stride}."))[:, :rows, :columns]
        indexes, coded = self.indexes(features, stride), self.coded(features, stride, height, width)
        for group, first_channel in enumerate(self.shape[f"groups_{stride}"][:-1]):
            latent = self.tensors.under(f"latents_{stride}.{group}.")
            for step in (0, 1):
                for block in latent.under("blocks.").blocks()[step::2]:
                    features = pass_block(features, block, indexes)
                there = at_positions_of_step(features, step)
                rows = table_rows(features[:, there], latent, step, indexes[there])
                symbols = np.zeros_like(rows)
                symbols[:, coded[there]] = self.levels[stride].read(rows[:, coded[there]])
                features[:, there] = tell(features[:, there], symbols, latent, first_channel, indexes[there])
        return features


def pass_block(features: Array, block: Tensors, indexes: Array) -> Array:
    y = depthwise(features, block)
    normalised = normalise(y, block["least_power"])
    scale = to_float32(block["scale"][indexes])
    h = clamped(normalised * scale, LARGEST_IN_BLOCK)
    up = block.integers("up")
    shift = (block.integers("shift") @ up.T).astype(np.float64)
    bias = block.integers("up_bias") + np.rint(shift / 64).astype(np.int64)
    sums = (h @ up.T + bias[indexes]).astype(np.float64)
    u = np.ldexp(sums, -block.integers("up_exponent")) + 0.5
    hidden = np.clip(u, 0, LARGEST_IN_BLOCK).astype(np.int64)
    change = to_float32(hidden @ block.integers("down").T) * block["down_scale"]
    return clamped((change + block["down_bias"]) + to_float32(features), LARGEST_FEATURE)


def table_rows(features: Array, latent: Tensors, step: int, indexes: Array) -> Array:
    sums = to_float32(features @ latent.integers(f"row.{step}.weight").T)
    rows = sums * latent[f"row.{step}.scale"] + latent[f"row_table.{step}"][indexes]
    return np.clip(np.rint(rows), 0, TABLE_COUNT - 1).astype(np.int64)


def tell(features: Array, symbols: Array, latent: Tensors, first_channel: int, indexes: Array) -> Array:
    values = clamped(to_float32(symbols) * latent["step"][indexes], LARGEST_FEATURE)
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


def synthesis(features: Array, leave: Tensors, folded: bool) -> Array:
    count, rows, columns, _ = features.shape
    sums = to_float32(features @ leave.integers("weight").T)
    patches = np.rint(sums * leave["scale"]).astype(np.int64).reshape(count, rows, columns, PATCH, PATCH)
    half, height, width = PATCH // 2, rows * PATCH // 2, columns * PATCH // 2
    canvas = np.zeros((count, height + half, width + half), np.int64)
    for top in (0, half):
        for left in (0, half):
            quarters = patches[..., top : top + half, left : left + half].transpose(0, 1, 3, 2, 4)
            canvas[:, top : top + height, left : left + width] += quarters.reshape(count, height, width)
    for axis in (1, 2):
        canvas = without_border(np.moveaxis(canvas, axis, 0), folded)
        canvas = np.moveaxis(canvas, 0, axis)
    return to_float32(canvas + leave["bias"].astype(np.float64)) * np.float32(1 / 65280)


def without_border(canvas: Array, folded: bool) -> Array:
    """the rows within, and with folded those outside added to their mirror images"""
    within = canvas[BORDER:-BORDER].copy()
    if folded:
        last = len(within) - 1
        for y in range(BORDER):
            within[y] += canvas[BORDER - 1 - y]
            within[last - y] += canvas[BORDER + last + 1 + y]
    return within


def words_of(stream: bytes, version: int) -> Array:
    if version == 1:
        return np.frombuffer(stream, "<u4").astype(np.uint32)
    return np.frombuffer(stream + bytes(-len(stream) % 4), ">u4").astype(np.uint32)


class Stream:
    def __init__(self, words: Array) -> None:
        self.decoder = constriction.stream.queue.RangeDecoder(words)

    def read_entries(self, model: Any, count: int) -> Array:
        try:
            return self.decoder.decode(model, count).astype(np.int64)
        except AssertionError as error:
            raise ValueError("lost step: a stream is not possible with its tables") from error


class Level:
    """The symbols of one stride, read batch by batch."""

    def __init__(self, stream: Stream, tables: list[Array], checked: bytes) -> None:
        self.stream = stream
        self.models = [categorical(table / TABLE_TOTAL) for table in tables]
        self.largest_symbols = [len(table) // 2 - 1 for table in tables]
        self.uniform = categorical(np.full(ESCAPE_BASE, 1 / ESCAPE_BASE))
        self.checksum = google_crc32c.value(checked)

    def read(self, rows: Array) -> Array:
        symbols = self.read_batch(rows.ravel())
        self.checksum = google_crc32c.extend(self.checksum, symbols.astype("<i4").tobytes())
        return symbols.reshape(rows.shape)

    def read_batch(self, rows: Array) -> Array:
        symbols = np.zeros(len(rows), np.int64)
        escaped = np.zeros(len(rows), bool)
        for row in np.unique(rows):
            places = np.flatnonzero(rows == row)
            entries = self.stream.read_entries(self.models[row], len(places))
            symbols[places] = entries - self.largest_symbols[row]
            escaped[places] = entries == 2 * self.largest_symbols[row] + 1
        for place in np.flatnonzero(escaped):
            symbols[place] = self.read_escaped()
        return symbols

    def read_escaped(self) -> Any:
        high, low = self.stream.read_entries(self.uniform, 2)
        n = ESCAPE_BASE * high + low
        return -(n + 1) // 2 if n % 2 else n // 2


class MissingLevel:
    """A level that the beginning of a file does not have."""

    def read(self, rows: Array) -> Array:
        return np.zeros_like(rows)


def categorical(probabilities: Array) -> Any:
    return constriction.stream.model.Categorical(probabilities, perfect=False, lazy=False)


def read_level(data: bytes, header: Header, place: Place, tables: list[Array]) -> Level:
    return Level(Stream(words_of(data[place.stream], header.version)), tables, header.checked)


def decode_planes(header: Header, model: Model, levels: dict[int, Level | MissingLevel]) -> list[Array]:
    height, width = header.height, header.width
    all_coded = header.version == 1
    cells = read_cells(header, model)
    path = TopDownPath(model, cells, levels, all_coded)
    if not header.halved:
        return [path.planes(1, height, width)[0] for _ in range(3 if header.colour else 1)]
    luma = path.planes(1, height, width)
    size = (height + 1) // 2, (width + 1) // 2
    steps = int(model.tensors["halved_steps"])
    coarse = np.minimum(halved_cells(cells, model.positions(32, *size)) + steps, LARGEST_INDEX)
    halved = TopDownPath(model, coarse, levels, all_coded).planes(2, *size)
    return luma + [doubled_plane(plane, height, width) for plane in halved]


def check_symbols(data: bytes, place: Place, level: Level) -> None:
    expected = data[place.check]
    if level.checksum.to_bytes(4, "little")[: len(expected)] != expected:
        raise ValueError("lost step: the symbols of a level do not match their check")


def decode(data: bytes, weights: Path, levels: int | None = None) -> Array:
    """the image of a whole file, or a preview from the first levels of one that may end after them"""
    header = read_header(data, levels)
    model = read_model(weights, header.model)
    places = header.places[:levels]
    read = [read_level(data, header, place, model.tables) for place in places]
    missing = [MissingLevel() for _ in STRIDES[len(places) :]]
    planes = decode_planes(header, model, dict(zip(STRIDES, read + missing, strict=True)))
    for place, level in zip(places, read, strict=True):
        check_symbols(data, place, level)
    return image_of_colour(planes) if header.colour else image_of_mono(planes[0])


def main() -> None:
    file, weights, out = map(Path, sys.argv[1:])
    np.save(out, decode(file.read_bytes(), weights))


if __name__ == "__main__":
    main()
