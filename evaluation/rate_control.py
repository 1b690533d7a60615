"""How close budgets and floors are met on real frames, and in how many times the time of a plain encoding."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inspect_compress.demand import Demand
from inspect_compress.errors import ConfigError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image, read_8_bit_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.draft import Draft
from inspect_compress.qarv.lmbda_map import quality_of
from inspect_compress.qarv.network import LMBDA_STEPS

DEMANDS = (
    Demand(bpp=0.1),
    Demand(bpp=0.3),
    Demand(bpp=1.0),
    Demand(min_psnr=36.0),
    Demand(min_psnr=42.0),
    Demand(min_ms_ssim=0.97),
    Demand(min_ms_ssim=0.99),
)
Step = Callable[[str], None]
"""Called with each frame's name when it has been measured."""


@dataclass(frozen=True)
class DemandRow:
    """One demand over all frames that it is possible for.

    `met` is the mean, `least` and `most` the extremes of what was reached: the part of the budget that was used, or
    the decoded picture's PSNR or MS-SSIM. `times` is the processor time over that of plain encodings at the same λ,
    both summed over the frames. None where no frame counts.
    """

    demand: str
    frames: int
    impossible: int
    at_the_end: int
    """Frames whose best file is within the budget, or whose smallest is good enough: they count for `times` only."""
    met: float | None
    least: float | None
    most: float | None
    times: float | None


@dataclass(frozen=True)
class _Met:
    """A demand on one frame: what was reached, and the processor's seconds beside those of a plain encoding there."""

    reached: float
    seconds: float
    plain_seconds: float
    at_the_end: bool


def run_rate_control(paths: Sequence[Path], step: Step = lambda name: None) -> list[DemandRow]:
    """Meet each of DEMANDS on each frame. Raises ImageError."""
    codec = QarvCodec()
    found: list[list[_Met | None]] = [[] for _ in DEMANDS]
    for path in paths:
        image = read_8_bit_image(path)
        for demand, results in zip(DEMANDS, found, strict=True):
            try:
                draft, seconds = _timed(codec, image, demand)
            except ConfigError:
                results.append(None)
                continue
            index = draft.header.lmbda_index
            _, plain = _timed(codec, image, Demand(quality_of(index)))
            end = index == (LMBDA_STEPS - 1 if demand.bpp else 0)
            results.append(_Met(_reached(image, demand, draft.data, codec), seconds, plain, end))
        step(path.name)
    return [_row(demand, results) for demand, results in zip(DEMANDS, found, strict=True)]


def to_json(rows: Sequence[DemandRow]) -> list[dict[str, Any]]:
    """As plain JSON values."""
    return [asdict(row) for row in rows]


def _timed(codec: QarvCodec, image: Image, demand: Demand) -> tuple[Draft, float]:
    start = time.process_time()
    draft = codec.draft(image, demand)
    assert draft.data
    return draft, time.process_time() - start


def _reached(image: Image, demand: Demand, data: bytes, codec: QarvCodec) -> float:
    budget = demand.budget(image)
    if budget is not None:
        return len(data) / budget
    return (psnr if demand.min_psnr else ms_ssim)(image, codec.decode(data))


def _row(demand: Demand, results: Sequence[_Met | None]) -> DemandRow:
    possible = [result for result in results if result is not None]
    values = [one.reached for one in possible if not one.at_the_end]
    (wish,) = (f"{name} {value:g}" for name, value in vars(demand).items() if value is not None)
    plain = sum(one.plain_seconds for one in possible)
    times = sum(one.seconds for one in possible) / plain if possible else None
    met, least, most = (float(one(values)) if values else None for one in (np.mean, np.min, np.max))
    ends = sum(one.at_the_end for one in possible)
    return DemandRow(wish, len(possible), len(results) - len(possible), ends, met, least, most, times)
