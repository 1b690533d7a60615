"""Makes inspection frames of machined parts, with and without defects, so that all can be tried offline.

The frames are synthetic: they stand in for a plant's own pictures in examples and tests, and prove nothing
about a real line.

Everything is computed in float64 and rounded once at the end, and each frame has a generator of its own,
seeded by (seed, product, number): the same seed gives the same pixels.
"""

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy import ndimage
from scipy.spatial import KDTree

from inspect_compress.errors import InspectCompressError, OutputError
from inspect_compress.files import staged_folder, write_file
from inspect_compress.images import Image, write_png

HERE = Path(__file__).resolve().parent
SEED = 7
"""The seed of the frames that are checked in."""
PER_PRODUCT = 90
"""Frames of each product in the set that is checked in."""
FEWEST_PER_PRODUCT = 20
"""With fewer, the lots can no longer give each split both good and defective parts."""

HEIGHT, WIDTH = 192, 224
PRODUCTS = ("brushed", "turned", "cast", "brass")
DEFECTS = ("scratch", "pit", "crack", "stain", "inclusion")
SPLITS = {"train": (0.49, 0.40), "calibration": (0.16, 0.20), "test": (0.35, 0.46)}
"""Each split's share of the frames, and the share of its own frames that are defective."""
LOT_SIZE = 6
FULL_WELL, READ_NOISE = 9000.0, 14.0
"""The sensor: electrons at white, and electrons (rms) of read noise; a common industrial CMOS camera."""
WEAKEST = 0.33
"""Contrast of the weakest defect as a share of the strongest; severity is log-uniform between the two."""

Field = NDArray[np.float64]


@dataclass(frozen=True)
class Lot:
    """What the parts of one lot share: set-up of tool, light and camera."""

    name: str
    angle: float
    pitch: float
    brightness: float
    light: float
    texture: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class Planned:
    """One frame before it is drawn. `defect` is empty for a good part."""

    product: str
    number: int
    split: str
    lot: int
    defect: str

    @property
    def frame_id(self) -> str:
        return f"{self.product}-{self.number:04d}"

    @property
    def group(self) -> str:
        return f"{self.product}-lot-{self.lot:02d}"


@dataclass(frozen=True)
class Mark:
    """Something on the surface: where it is (0..1), what it does to height, reflectance and roughness."""

    cover: Field
    relief: float = 0.0
    gain: tuple[float, float, float] = (0.0, 0.0, 0.0)
    smooth: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        count = generate(options.out, options.per_product, options.seed)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    print(f"{count} frames written to {options.out}")
    return 0


def generate(out: Path, per_product: int = PER_PRODUCT, seed: int = SEED) -> int:
    """Write images, masks and labels.csv into `out`; return the number of frames.

    Raises OutputError where `out` holds something already (beside this script, where that is its folder).
    """
    frames = plan(per_product, seed)
    with _destination(Path(out)) as folder:
        for frame in track(frames, "drawing frames", console=Console(stderr=True), transient=True):
            image, mask = draw(frame, seed)
            write_png(folder / image_path(frame), image)
            if frame.defect:
                write_png(folder / mask_path(frame), mask)
        write_file(folder / "labels.csv", _labels(frames))
    return len(frames)


def image_path(frame: Planned) -> str:
    """The image's path, relative to labels.csv."""
    return f"images/{frame.product}/{frame.frame_id}.png"


def mask_path(frame: Planned) -> str:
    """The mask's path, relative to labels.csv; empty for a good part."""
    return f"masks/{frame.product}/{frame.frame_id}.png" if frame.defect else ""


def plan(per_product: int, seed: int) -> list[Planned]:
    """Decide split, lot and defect of every frame. A lot lies in one split only."""
    frames: list[Planned] = []
    for index, product in enumerate(PRODUCTS):
        rng = default_rng([seed, index])
        number = lot = 0
        for split, share in _split_sizes(per_product).items():
            bad = round(share * SPLITS[split][1])
            kinds = [DEFECTS[(index * 3 + k) % len(DEFECTS)] for k in range(bad)] + [""] * (share - bad)
            for k, defect in enumerate(rng.permutation(kinds)):
                if k % LOT_SIZE == 0:
                    lot += 1
                number += 1
                frames.append(Planned(product, number, split, lot, str(defect)))
    return frames


def draw(frame: Planned, seed: int) -> tuple[Image, Image]:
    """Return the frame's image, `(H, W)` or `(H, W, 3)` uint8, and its mask, `(H, W)` uint8 of 0 and 255."""
    index = PRODUCTS.index(frame.product)
    lot = _lot(default_rng([seed, index, 1, frame.lot]), frame.group)
    rng = default_rng([seed, index, 2, frame.number])
    relief, albedo = SURFACES[frame.product](rng, lot)
    blemishes = list(_blemishes(rng, lot, frame.product))
    defect = _defect(rng, frame.defect, lot, relief) if frame.defect else []
    light = _light(rng, lot, relief, albedo, blemishes + defect)
    image = _expose(rng, light, colour=frame.product in COLOUR)
    return image, _mask(defect)


# ---------------------------------------------------------------- the plan


def _split_sizes(per_product: int) -> dict[str, int]:
    train = round(per_product * SPLITS["train"][0])
    calibration = round(per_product * SPLITS["calibration"][0])
    return {"train": train, "calibration": calibration, "test": per_product - train - calibration}


def _lot(rng: Generator, name: str) -> Lot:
    side = rng.normal(-2.6, 0.12)
    away = rng.uniform(210, 270)
    return Lot(
        name=name,
        angle=rng.normal(0, 0.05),
        pitch=rng.uniform(0.9, 1.12),
        brightness=rng.uniform(0.44, 0.55),
        light=rng.normal(-0.8, 0.12),
        texture=rng.uniform(0.88, 1.12),
        centre=(away * np.cos(side), away * np.sin(side)),
    )


# ---------------------------------------------------------------- surfaces: relief in pixels, albedo around 1


def _brushed(rng: Generator, lot: Lot) -> tuple[Field, Field]:
    """Linear grinding: long fine lines of all widths, and a few deeper ones."""
    angle = lot.angle + rng.normal(0, 0.02)
    fine = _lines(rng, angle, length=36, width=0.55)
    broad = _lines(rng, angle, length=24, width=1.8 * lot.pitch)
    bands = _lines(rng, angle, length=30, width=7.0)
    relief = lot.texture * (0.08 * fine + 0.12 * broad)
    albedo = 1 + 0.05 * lot.texture * fine + 0.022 * bands + 0.02 * _cloud(rng, 18)
    return relief, albedo


def _turned(rng: Generator, lot: Lot) -> tuple[Field, Field]:
    """Face turning: concentric grooves about a centre outside the frame."""
    y, x = _grid()
    cx, cy = lot.centre[0] + rng.normal(0, 4), lot.centre[1] + rng.normal(0, 4)
    radius = np.hypot(x - cx, y - cy)
    facing = np.arctan2(-cy, -cx)
    turn = np.angle(np.exp(1j * (np.arctan2(y - cy, x - cx) - facing)))
    pitch = 6.2 * lot.pitch
    relief = 0.22 * lot.texture * _grooves(rng, radius, pitch)
    streaks = _streaks(rng, radius, turn * np.hypot(cx, cy), length=50)
    chatter = 1 + 0.12 * np.sin(turn * rng.uniform(60, 110) + radius / pitch)
    albedo = 1 + 0.05 * streaks + 0.06 * np.cos(2 * (turn + facing - lot.light)) + 0.02 * _cloud(rng, 25)
    return relief * chatter + 0.07 * streaks, albedo


def _cast(rng: Generator, lot: Lot) -> tuple[Field, Field]:
    """Blasted casting: bumps of several sizes, without a direction."""
    grain = lot.pitch * np.array([1.1, 2.2, 4.5])
    bumps = sum(w * np.tanh(1.2 * _cloud(rng, g)) for w, g in zip((0.14, 0.32, 0.42), grain, strict=True))
    specks = np.clip(_cloud(rng, 0.9) - 1.9, 0, 1.5)
    albedo = 1 + 0.045 * _cloud(rng, 1.3) + 0.03 * _cloud(rng, 22) - 0.10 * specks
    return lot.texture * bumps, albedo


def _brass(rng: Generator, lot: Lot) -> tuple[Field, Field]:
    """Fly cutting: arcs of one radius stepped along the feed, faintly crossed by the cutter's way back."""
    y, x = _grid()
    angle = lot.angle + rng.normal(0, 0.02) + 0.5
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radius = 240 + 60 * lot.pitch
    arc = np.sqrt(radius**2 - (across - 0.2 * lot.centre[0]) ** 2)
    there, back = along - arc, along + arc
    pitch = 5.0 * lot.pitch
    relief = 0.36 * _grooves(rng, there, pitch) + 0.12 * _grooves(rng, back, pitch)
    streaks = _streaks(rng, there, across, length=40)
    albedo = 1 + 0.045 * streaks + 0.03 * _cloud(rng, 20)
    return lot.texture * relief + 0.05 * streaks, albedo


SURFACES: dict[str, Callable[[Generator, Lot], tuple[Field, Field]]] = {
    "brushed": _brushed,
    "turned": _turned,
    "cast": _cast,
    "brass": _brass,
}
COLOUR = {"brass": (0.98, 0.80, 0.47)}
"""Reflectance in red, green and blue of the products that are filmed in colour."""


def _grooves(rng: Generator, distance: Field, pitch: float) -> Field:
    """Tool marks across `distance` (pixels): one every `pitch`, no two alike. About -1..1."""
    start, stop = distance.min() - 2 * pitch, distance.max() + 2 * pitch
    line = np.arange(start, stop, 0.25)
    wander = ndimage.gaussian_filter1d(rng.standard_normal(line.size), 8 * pitch)
    depth = ndimage.gaussian_filter1d(rng.standard_normal(line.size), 3 * pitch)
    phase = 2 * np.pi * (line / pitch + 0.12 * _unit(wander))
    profile = np.sin(phase) + 0.35 * np.sin(2 * phase + 0.7) + 0.12 * np.sin(3 * phase + 2)
    rough = _unit(ndimage.gaussian_filter1d(rng.standard_normal(line.size), 3.0))
    profile = profile * (1 + 0.22 * _unit(depth)) + 0.25 * rough
    return np.interp(distance.ravel(), line, profile).reshape(distance.shape)


def _streaks(rng: Generator, distance: Field, along: Field, length: float) -> Field:
    """Fine marks that follow a curved tool path: short across it, long along it. Variance one."""
    rows = np.ptp(distance) / 0.5 + 8
    columns = np.ptp(along) / (length / 6) + 16
    noise = rng.standard_normal((int(rows) + 1, int(columns) + 1))
    noise = _unit(ndimage.gaussian_filter(noise, (1.1, 3.0), mode="wrap"))
    where = [(distance - distance.min()) / 0.5 + 2, (along - along.min()) / (length / 6) + 4]
    return ndimage.map_coordinates(noise, where, order=1, mode="wrap")


def _lines(rng: Generator, angle: float, length: float, width: float) -> Field:
    """Noise drawn out along `angle`, made in the frequency domain. Variance one."""
    shape = (HEIGHT + 96, WIDTH + 96)
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]
    along, across = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    gain = np.exp(-0.5 * ((2 * np.pi * along * length) ** 2 + (2 * np.pi * across * width) ** 2))
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * gain).real
    return _unit(noise[48:-48, 48:-48])


def _cloud(rng: Generator, size: float) -> Field:
    """Noise without direction, with features of about `size` pixels. Variance one."""
    pad = 8
    noise = rng.standard_normal((HEIGHT + 2 * pad, WIDTH + 2 * pad))
    return _unit(ndimage.gaussian_filter(noise, size, mode="wrap")[pad:-pad, pad:-pad])


# ---------------------------------------------------------------- what is no defect, but looks like something


def _blemishes(rng: Generator, lot: Lot, product: str) -> Iterator[Mark]:
    """Dust, fibres, smears and handling marks that every line lives with."""
    for _ in range(rng.poisson(2.2)):
        gain = rng.choice([-1, 1]) * rng.uniform(0.06, 0.28)
        yield Mark(_blob(rng, _spot(rng, 2), rng.uniform(0.6, 1.7), 0.25), gain=_grey(gain))
    if rng.random() < 0.18:
        fibre = _walk(rng, _spot(rng, 15), rng.uniform(0, 2 * np.pi), rng.uniform(10, 26), bend=0.16)
        yield Mark(_stroke(rng, fibre, rng.uniform(0.5, 0.8)), gain=_grey(rng.uniform(-0.16, -0.06)))
    if rng.random() < 0.45:
        smear = _blob(rng, _spot(rng, 0), rng.uniform(20, 45), 0.3, edge=0.9)
        yield Mark(smear, gain=_grey(rng.uniform(-0.06, 0.06)))
    for _ in range(rng.poisson(0.8)):
        way = _tool_direction(rng, lot, product)
        line = _walk(rng, _spot(rng, 10), way, rng.uniform(20, 90), bend=0.002)
        yield Mark(_stroke(rng, line, rng.uniform(0.5, 0.9)), gain=_grey(rng.uniform(-0.12, 0.16)))


def _tool_direction(rng: Generator, lot: Lot, product: str) -> float:
    return lot.angle + rng.normal(0, 0.03) if product == "brushed" else rng.uniform(0, np.pi)


# ---------------------------------------------------------------- defects


def _defect(rng: Generator, kind: str, lot: Lot, relief: Field) -> list[Mark]:
    """One defect of `kind` as the marks that make it up, from barely visible to obvious."""
    severity = float(np.exp(rng.uniform(np.log(WEAKEST), 0)))
    return DRAWN[kind](rng, severity)


def _scratch(rng: Generator, severity: float) -> list[Mark]:
    """A long, slightly bent furrow: bright flank, dark flank, now and then skipping."""
    path = _walk(rng, _spot(rng, 25), rng.uniform(0, 2 * np.pi), rng.uniform(35, 130), bend=0.012)
    cover = _stroke(rng, path, 0.55 + 0.65 * severity * rng.uniform(0.6, 1.2), skips=0.5)
    bright = rng.choice([1.0, 1.0, -0.7])
    return [Mark(cover, relief=-1.3 * severity, gain=_grey(0.75 * severity * bright), smooth=0.5)]


def _pit(rng: Generator, severity: float) -> list[Mark]:
    """One to three small holes: dark inside, one rim lit."""
    spot = _spot(rng, 20)
    marks = []
    for _ in range(rng.integers(1, 4)):
        at = spot + rng.normal(0, 9, 2) * bool(marks)
        cover = _blob(rng, at, rng.uniform(1.5, 2.2) + 3.2 * severity * rng.random(), 0.25, edge=0.35)
        marks.append(Mark(cover, relief=-3.2 * severity, gain=_grey(-0.75 * severity), smooth=0.6))
    return marks


def _crack(rng: Generator, severity: float) -> list[Mark]:
    """A thin, jagged, branching dark line."""
    way = rng.uniform(0, 2 * np.pi)
    trunk = _walk(rng, _spot(rng, 30), way, rng.uniform(30, 95), bend=0.12, jagged=0.55)
    paths = [trunk]
    for _ in range(rng.integers(0, 3)):
        fork = trunk[rng.integers(len(trunk) // 4, len(trunk) - 1)]
        paths.append(
            _walk(
                rng,
                fork,
                way + rng.choice([-1, 1]) * rng.uniform(0.4, 0.9),
                rng.uniform(8, 28),
                bend=0.12,
                jagged=0.55,
                from_start=True,
            )
        )
    width = 0.40 + 0.30 * severity * rng.uniform(0.6, 1.3)
    cover = np.max([_stroke(rng, p, width, tail=True) for p in paths], axis=0)
    return [Mark(cover, relief=-1.0 * severity, gain=_grey(-1.05 * severity))]


def _stain(rng: Generator, severity: float) -> list[Mark]:
    """A dried drop or corrosion: a patch with a darker rim; on colour, tarnished."""
    at, radius = _spot(rng, 25), rng.uniform(10, 30)
    depth_inside = _puddle(rng, at, radius)
    patch, inner = _step(depth_inside / 1.6), _step((depth_inside - 1.2) / 3)
    depth = 0.40 * severity
    tint = np.array([0.75, 1.0, 1.25]) if rng.random() < 0.7 else np.array([1.2, 0.95, 0.7])
    patchy = np.clip(0.75 + 0.25 * _cloud(rng, 6), 0, 1.5)
    body = Mark(patch * patchy, gain=_rgb(-depth * tint), smooth=0.35 * severity)
    return [body, Mark(np.clip(patch - inner, 0, 1), gain=_rgb(-0.7 * depth * tint))]


def _inclusion(rng: Generator, severity: float) -> list[Mark]:
    """A foreign particle set in the surface: angular, smooth, of another brightness."""
    size = rng.uniform(2.8, 3.8) + 6.0 * severity * rng.random()
    cover = _shard(rng, _spot(rng, 20), size)
    sign = rng.choice([-1.0, -1.0, 1.0])
    tint = np.array([1.0, 1.0, 0.8])
    return [Mark(cover, relief=0.5 * severity, gain=_rgb(sign * 0.75 * severity * tint), smooth=severity)]


DRAWN: dict[str, Callable[[Generator, float], list[Mark]]] = {
    "scratch": _scratch,
    "pit": _pit,
    "crack": _crack,
    "stain": _stain,
    "inclusion": _inclusion,
}


# ---------------------------------------------------------------- shapes, as cover between 0 and 1


def _walk(
    rng: Generator,
    middle: Field,
    way: float,
    length: float,
    *,
    bend: float,
    jagged: float = 0.0,
    from_start: bool = False,
) -> Field:
    """Points (y, x) half a pixel apart along a path that bends at random, through `middle`."""
    count = max(8, int(length * 2))
    turns = way + np.cumsum(rng.normal(0, bend * np.sqrt(0.5), count))
    if jagged:
        turns = turns + np.repeat(rng.normal(0, jagged, count // 5 + 1), 5)[:count]
    steps = 0.5 * np.stack([np.sin(turns), np.cos(turns)], axis=1)
    points = np.cumsum(steps, axis=0)
    return points - points[0 if from_start else count // 2] + middle


def _stroke(rng: Generator, path: Field, width: float, *, skips: float = 0.0, tail: bool = False) -> Field:
    """Cover of a line of half-width `width` pixels along `path`, tapered, uneven and soft-edged."""
    along = np.linspace(0, 1, len(path))
    press = 1 - along**3 if tail else np.clip(np.minimum(along, 1 - along) * 6, 0.05, 1)
    uneven = _unit(ndimage.gaussian_filter1d(rng.standard_normal(len(path)), 8, mode="nearest"))
    press = press * np.clip(1 + (0.25 + skips) * uneven, 0.15, 1.4)
    y, x = _grid()
    distance, nearest = KDTree(path).query(np.stack([y.ravel(), x.ravel()], axis=1), distance_upper_bound=8)
    nearest = np.minimum(nearest, len(path) - 1)
    cover = press[nearest] * np.exp(-0.5 * (np.minimum(distance, 9) / width) ** 2)
    return np.clip(cover, 0, 1).reshape(HEIGHT, WIDTH)


def _blob(rng: Generator, at: Field, radius: float, wobble: float, edge: float = 0.3) -> Field:
    """Cover of a roundish patch whose outline wobbles; `edge` is the soft part as a share of the radius."""
    y, x = _grid()
    turn = np.arctan2(y - at[0], x - at[1])
    outline = np.ones_like(turn)
    for k in range(2, 8):
        outline += wobble / k * rng.normal() * np.cos(k * turn + rng.uniform(0, 2 * np.pi))
    depth = 1 - np.hypot(y - at[0], x - at[1]) / (radius * np.maximum(outline, 0.35))
    return _step(depth / edge)


def _puddle(rng: Generator, at: Field, radius: float) -> Field:
    """Roughly how many pixels inside the ragged edge of a puddle each pixel lies; negative outside."""
    y, x = _grid()
    squeeze, lean = rng.uniform(0.65, 1.0), rng.uniform(0, np.pi)
    u = (x - at[1]) * np.cos(lean) + (y - at[0]) * np.sin(lean)
    v = (y - at[0]) * np.cos(lean) - (x - at[1]) * np.sin(lean)
    ragged = 0.22 * radius * _cloud(rng, radius / 2.2) + 0.05 * radius * _cloud(rng, radius / 8)
    return radius - np.hypot(u, v / squeeze) + ragged


def _shard(rng: Generator, at: Field, size: float) -> Field:
    """Cover of an angular particle: the common part of a few half planes."""
    y, x = _grid()
    turns = 2 * np.pi * (np.arange(6) + rng.uniform(0, 0.8, 6)) / 6
    stretch, lean = rng.uniform(1, 2.0), rng.uniform(0, np.pi)
    u = ((x - at[1]) * np.cos(lean) + (y - at[0]) * np.sin(lean)) / stretch
    v = (y - at[0]) * np.cos(lean) - (x - at[1]) * np.sin(lean)
    reach = size * rng.uniform(0.6, 1.1, 6)
    inside = np.min([r - u * np.cos(t) - v * np.sin(t) for t, r in zip(turns, reach, strict=True)], axis=0)
    return _step(inside + 0.5)


def _spot(rng: Generator, margin: float) -> Field:
    """A place (y, x) at least `margin` pixels from the border, from the middle of the frame."""
    half = np.array([HEIGHT / 2 - margin, WIDTH / 2 - margin])
    return rng.uniform(-half, half)


def _step(value: Field) -> Field:
    """0 below 0, 1 above 1, smooth between."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def _grid() -> tuple[Field, Field]:
    """Pixel coordinates y and x, `(H, W)`, zero in the middle."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    return y - HEIGHT / 2, x - WIDTH / 2


def _unit(noise: Field) -> Field:
    return (noise - noise.mean()) / noise.std()


def _grey(gain: float) -> tuple[float, float, float]:
    return (gain, gain, gain)


def _rgb(gain: Field) -> tuple[float, float, float]:
    return (float(gain[0]), float(gain[1]), float(gain[2]))


# ---------------------------------------------------------------- light and camera


def _light(rng: Generator, lot: Lot, relief: Field, albedo: Field, marks: Iterable[Mark]) -> Field:
    """The light that reaches the lens, `(H, W, 3)`, white at 1: oblique light on relief and reflectance."""
    gain = np.ones((HEIGHT, WIDTH, 3))
    for mark in marks:
        keep = 1 - mark.smooth * mark.cover
        relief, albedo = relief * keep + mark.relief * mark.cover, 1 + (albedo - 1) * keep
        gain = gain * (1 + mark.cover[..., None] * np.array(mark.gain))
    way = lot.light + rng.normal(0, 0.05)
    slope_y, slope_x = np.gradient(relief)
    facing = -(slope_x * np.cos(way) + slope_y * np.sin(way))
    shade = np.clip(1 + 0.62 * np.tanh(facing), 0.05, None)
    even = _illumination(rng, way) * lot.brightness * rng.normal(1, 0.03)
    return even[..., None] * (albedo * shade)[..., None] * np.clip(gain, 0.05, None)


def _illumination(rng: Generator, way: float) -> Field:
    """Uneven light: brighter towards the lamp, darker in the corners."""
    y, x = _grid()
    towards = (x * np.cos(way) + y * np.sin(way)) / (WIDTH / 2)
    corner = (x**2 + y**2) / (WIDTH / 2) ** 2
    return 1 + rng.uniform(0.05, 0.20) * towards - rng.uniform(0.04, 0.12) * corner


def _expose(rng: Generator, light: Field, *, colour: bool) -> Image:
    """What the camera makes of it: lens blur, shot and read noise, 8 bit; a Bayer sensor for colour."""
    light = ndimage.gaussian_filter(light, (0.7, 0.7, 0))
    if not colour:
        return _digits(_noisy(rng, light.mean(axis=2)))
    light = light * np.array(COLOUR["brass"]) * rng.normal(1, 0.008, 3) * 1.15
    return _digits(_demosaic(_noisy(rng, _mosaic(light))))


def _noisy(rng: Generator, light: Field) -> Field:
    electrons = np.clip(light, 0, 1) * FULL_WELL
    return (electrons + np.sqrt(electrons + READ_NOISE**2) * rng.standard_normal(light.shape)) / FULL_WELL


def _mosaic(light: Field) -> Field:
    """One colour per pixel, in the order RG/GB."""
    raw = light[..., 1].copy()
    raw[0::2, 0::2] = light[0::2, 0::2, 0]
    raw[1::2, 1::2] = light[1::2, 1::2, 2]
    return raw


def _demosaic(raw: Field) -> Field:
    """Bilinear interpolation of an RG/GB mosaic, `(H, W)` to `(H, W, 3)`."""
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    sites = np.zeros((3, *raw.shape))
    sites[0, 0::2, 0::2] = sites[2, 1::2, 1::2] = 1
    sites[1] = 1 - sites[0] - sites[2]
    kernels = (square, cross, square)
    planes = [ndimage.convolve(raw * s, k, mode="mirror") for s, k in zip(sites, kernels, strict=True)]
    return np.stack(planes, axis=2)


def _digits(light: Field) -> Image:
    return np.round(np.clip(light, 0, 1) * 255).astype(np.uint8)


def _mask(marks: list[Mark]) -> Image:
    """Where a defect is, `(H, W)` uint8: 255 on it, 0 elsewhere."""
    cover = np.max([m.cover for m in marks], axis=0) if marks else np.zeros((HEIGHT, WIDTH))
    return np.where(cover > 0.3, 255, 0).astype(np.uint8)


# ---------------------------------------------------------------- files and command line


@contextmanager
def _destination(out: Path) -> Iterator[Path]:
    """Yield a folder to fill; what is in it appears in `out` when the block ends well."""
    mine = out.resolve() == HERE
    for name in ("images", "masks", "labels.csv") if mine else ():
        _refuse(out / name, (out / name).exists())
    _refuse(out, not mine and out.exists() and not (out.is_dir() and not any(out.iterdir())))
    with staged_folder(HERE / "new" if mine else out) as stage:
        yield stage
    if mine:
        for entry in (HERE / "new").iterdir():
            entry.replace(HERE / entry.name)
        (HERE / "new").rmdir()


def _refuse(path: Path, occupied: bool) -> None:
    if occupied:
        raise OutputError(f"{path}: exists already; remove it first, or name another folder with --out")


def _labels(frames: list[Planned]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "defect", "mask", "split", "group"])
    writer.writerows([image_path(f), f.defect, mask_path(f), f.split, f.group] for f in frames)
    return text.getvalue().encode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make frames of machined parts, good and defective, with masks and labels.csv.",
        epilog="example: python sample_data/generate.py --out my_frames --per-product 200 --seed 1",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE,
        metavar="DIR",
        help="new or empty folder to write to (default: beside this script)",
    )
    parser.add_argument(
        "--per-product",
        type=_count,
        default=PER_PRODUCT,
        metavar="N",
        help=f"frames of each of the {len(PRODUCTS)} products (default: {PER_PRODUCT})",
    )
    parser.add_argument(
        "--seed", type=_seed, default=SEED, metavar="S", help=f"same seed, same frames (default: {SEED})"
    )
    return parser


def _count(text: str) -> int:
    return _whole_number(text, FEWEST_PER_PRODUCT, 9999)


def _seed(text: str) -> int:
    return _whole_number(text, 0, 2**32 - 1)


def _whole_number(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
