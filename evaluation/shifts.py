"""What happens to frames on a line besides compression: light, focus, motion, pose and noise, in steps of known size.

It changes frames and judges nothing. Grey levels are taken as proportional to light, as industrial cameras deliver
them (EMVA 1288, release 4.0, section 2); a frame that went through a tone curve is shifted a little differently.

    dark_or_bright = shifted(image, "exposure", 0.5, seed=0, frame_id="0001.png")
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from inspect_compress.errors import ConfigError
from inspect_compress.images import Image, check_image

Field = NDArray[np.float32]
"""Grey levels from 0 to 255, `(H, W)` or `(H, W, 3)`, not yet rounded."""

WHITE = 255.0
FULL_WELL, READ_NOISE = 10_000.0, 3.0
"""Electrons at white and of read noise (rms) at gain 0 dB: an industrial CMOS sensor with pixels of about 3.5 µm."""
VIEW = math.radians(20)
"""Field of view over a frame's longer side: a 25 mm lens before a 2/3-inch sensor (8.8 mm wide)."""
EDGE = cv2.BORDER_REFLECT
"""What lies outside a frame: its mirror image, so that nothing black comes in that looks like a defect."""
SUBSAMPLES = 9
"""Points per pixel and axis by which a blur's kernel is integrated; odd, so that the narrowest still holds one."""


@dataclass(frozen=True)
class Shift:
    """One condition. `amounts` are those of steps 1 to 3 in `unit`: hardly noticed, plainly seen, a fault.

    The unit is a symbol, EV for stops of light; an exponent has none. `neutral` is the amount that changes
    nothing. `apply` changes grey levels by an amount; its directions and signs are drawn from the generator.
    """

    name: str
    unit: str
    amounts: tuple[float, float, float]
    apply: Callable[[Field, float, Generator], Field]
    neutral: float = 0.0


def shifted(image: Image, name: str, amount: float, *, seed: int, frame_id: str) -> Image:
    """`image`, `uint8` of `(H, W)` or `(H, W, 3)`, under a shift by an amount of its unit; same shape and dtype.

    Direction and sign depend on `seed`, `name` and `frame_id` alone: all steps of a frame go the same way, and
    a repetition gives the same pixels. Raises ConfigError for an unknown name, or an amount that is not finite or
    below the neutral one.
    """
    if name not in SHIFTS:
        raise ConfigError(f"unknown shift {name!r}; known: {', '.join(SHIFTS)}")
    shift = SHIFTS[name]
    if not (math.isfinite(amount) and amount >= shift.neutral):
        raise ConfigError(f"shift {name}: the amount is {amount:g}; give {shift.neutral:g} or more")
    check_image(image)
    if amount == shift.neutral:
        return image.copy()
    digest = hashlib.sha256(f"{seed}/{name}/{frame_id}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    changed = shift.apply(image.astype(np.float32), float(amount), generator)
    return np.rint(np.clip(changed, 0, WHITE)).astype(np.uint8)


def _exposure(levels: Field, stops: float, generator: Generator) -> Field:
    """Twice or half the light per stop; what is above white is lost."""
    return levels * np.float32(2 ** (stops * _sign(generator)))


def _gamma(levels: Field, exponent: float, generator: Generator) -> Field:
    """The tone curve `v ** exponent`, v from 0 to 1, or that of the exponent's reciprocal."""
    power = exponent ** _sign(generator)
    return np.asarray(WHITE * (levels / WHITE) ** np.float32(power), np.float32)


def _lighting(levels: Field, percent: float, generator: Generator) -> Field:
    """A linear fall of light across the frame: the difference between opposite ends, in percent of the middle."""
    height, width = levels.shape[:2]
    angle = generator.uniform(0, 2 * math.pi)
    y, x = np.meshgrid(_centred(height), _centred(width), indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    gain = 1 + percent / 100 * along / (2 * max(float(np.abs(along).max()), 0.5))
    return levels * _per_channel(np.maximum(gain, 0).astype(np.float32), levels)


def _focus(levels: Field, diameter: float, generator: Generator) -> Field:
    """A point becomes a disk of this diameter in pixels: the circle of confusion of geometrical optics."""
    return _blurred(levels, diameter, lambda x, y: x * x + y * y <= diameter * diameter / 4)


def _motion(levels: Field, length: float, generator: Generator) -> Field:
    """A point becomes a line of this length in pixels: the way that the part moves during the exposure."""
    angle = generator.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    return _blurred(levels, length, lambda x, y: (abs(x * c + y * s) <= length / 2) & (abs(y * c - x * s) <= 0.5))


def _rotation(levels: Field, degrees: float, generator: Generator) -> Field:
    """The part lies turned about the frame's centre."""
    height, width = levels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees * _sign(generator), 1.0)
    return _warped(levels, np.vstack([matrix, [0, 0, 1]]))


def _viewpoint(levels: Field, degrees: float, generator: Generator) -> Field:
    """The part is tilted about an axis through the frame's centre, seen by a pinhole camera: a homography.

    R. Hartley and A. Zisserman, *Multiple View Geometry* (2nd ed., 2004), section 8.1.1, plane at distance f.
    """
    height, width = levels.shape[:2]
    angle, tilt = generator.uniform(0, 2 * math.pi), math.radians(degrees)
    distance = max(height, width) / (2 * math.tan(VIEW / 2))
    rotation, _ = cv2.Rodrigues(np.array([math.cos(angle), math.sin(angle), 0.0]) * tilt)
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]], np.float64)
    projected = np.column_stack([rotation[:, 0], rotation[:, 1], [0, 0, distance]])
    camera = np.diag([distance, distance, 1.0])
    return _warped(levels, centre @ camera @ projected @ np.linalg.inv(centre))


def _noise(levels: Field, decibels: float, generator: Generator) -> Field:
    """Gain raised by these decibels and the exposure cut in turn: the same brightness from fewer electrons.

    Only the noise that comes on top of that at gain 0 dB is added. Shot noise by its normal approximation, and read
    noise (EMVA 1288, release 4.0, section 2.4), for each sample by itself.
    """
    gain = 10 ** (decibels / 20)
    shot = levels * (WHITE / FULL_WELL * (gain - 1))
    read = (READ_NOISE * WHITE / FULL_WELL) ** 2 * (gain * gain - 1)
    return levels + np.sqrt(shot + read) * generator.standard_normal(levels.shape, np.float32)


def _sign(generator: Generator) -> int:
    return 1 if generator.random() < 0.5 else -1


def _centred(side: int) -> NDArray[np.float64]:
    return np.arange(side, dtype=np.float64) - (side - 1) / 2


def _per_channel(field: Field, levels: Field) -> Field:
    return field if levels.ndim == 2 else field[..., None]


def _blurred(levels: Field, extent: float, inside: Callable[[Field, Field], NDArray[np.bool_]]) -> Field:
    """Each pixel the mean over the part of its surroundings that is `inside`, which is at most `extent` wide."""
    side = 2 * math.ceil(extent / 2) + 3
    points = (_centred(side * SUBSAMPLES) / SUBSAMPLES).astype(np.float32)
    y, x = np.meshgrid(points, points, indexing="ij")
    covered = inside(x, y).reshape(side, SUBSAMPLES, side, SUBSAMPLES).mean(axis=(1, 3))
    return np.asarray(cv2.filter2D(levels, -1, covered / covered.sum(), borderType=EDGE), np.float32)


def _warped(levels: Field, matrix: NDArray[np.float64]) -> Field:
    size = levels.shape[1], levels.shape[0]
    return np.asarray(cv2.warpPerspective(levels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=EDGE), np.float32)


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {
        shift.name: shift
        for shift in (
            Shift("exposure", "EV", (0.25, 0.5, 1.0), _exposure),
            Shift("gamma", "", (1.2, 1.5, 2.0), _gamma, neutral=1.0),
            Shift("lighting", "%", (20.0, 40.0, 80.0), _lighting),
            Shift("focus", "px", (2.0, 4.0, 8.0), _focus),
            Shift("motion", "px", (3.0, 6.0, 12.0), _motion),
            Shift("rotation", "°", (1.0, 3.0, 8.0), _rotation),
            Shift("viewpoint", "°", (5.0, 15.0, 30.0), _viewpoint),
            Shift("noise", "dB", (12.0, 24.0, 36.0), _noise),
        )
    }
)
"""The shifts by name, in the order in which they are tried."""
