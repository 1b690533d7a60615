"""The first codec once more, on test frames under shifts: light, focus, motion, pose and noise. Judges nothing.

Detectors are frozen: trained and calibrated on plain originals, as they run in the plant when the light changes.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from evaluation.bench import evenly_spaced
from evaluation.kpis import ORIGINAL
from evaluation.pilot_config import PilotConfig, load_codecs
from evaluation.shifts import SHIFTS, shifted
from evaluation.sweep import Step, TrainedDetector, frame_ids
from inspect_compress.codecs import Codec
from inspect_compress.errors import DetectorError
from inspect_compress.files import write_file
from inspect_compress.images import Image, read_8_bit_image
from pipelines.datasets import Dataset, Item
from pipelines.detectors.scoring import scores_or_errors

PHASE = "shifts"
"""The phase that `step` is told."""
PLAIN = "none"
"""The shift of frames as they came: step 0, amount 0."""
WORKERS = 2
"""Threads that encode and decode."""
CHUNK_FRAMES = 32
"""Frames held in memory at once, shifted and decoded at each quality."""


class _Part(NamedTuple):
    """One shift at one step: what is measured and kept together."""

    shift: str
    step: int
    amount: float


class _Frame(NamedTuple):
    frame_id: str
    item: Item


@dataclass(frozen=True)
class _Setup:
    """What is the same for all parts. `qualities` best first; `stepped` is called per encoding."""

    codec: Codec
    qualities: Sequence[int]
    detectors: Sequence[TrainedDetector]
    seed: int
    stepped: Callable[[], None]


def sweep_shifts(
    dataset: Dataset, config: PilotConfig, detectors: Sequence[TrainedDetector], work: Path, *, step: Step
) -> pd.DataFrame:
    """Measure `config.shifts` at all their steps, and no shift; a row per frame, shift, step and quality.

    Columns: `frame_id`, `defect`, `group`, `shift` (`none` for plain frames), `step` (0 for those, else 1 to 3),
    `amount` (in the shift's unit), `codec` (`original` for frames that were not coded, with `quality` NA), `quality`,
    `bytes` (of the encoded frame; of the pixels where it was not coded), and per detector `score_NAME` and
    `flag_NAME`, true where the score is at or above the threshold.

    Frames are those of `chosen_frames`. Each shift and step is written to `work` once it is done, and read from there
    when it is asked for again: a folder belongs to one dataset, configuration and seed. `step` is told of encodings.

    Raises ImageError for an image that cannot be read, DetectorError for a detector that fails, OutputError where
    `work` cannot be written.
    """
    items = chosen_frames(dataset, config.shift_frames)
    frames = [_Frame(*pair) for pair in zip(frame_ids(dataset, items), items, strict=True)]
    parts = [_Part(PLAIN, 0, 0.0)]
    parts += [_Part(name, n, amount) for name in config.shifts for n, amount in enumerate(SHIFTS[name].amounts, 1)]
    each, done = len(frames) * len(config.qualities), 0

    def advance(to: int) -> None:
        nonlocal done
        done = to
        step(PHASE, done, each * len(parts))

    best_first = sorted(config.qualities, reverse=True)
    setup = _Setup(load_codecs(config)[0], best_first, detectors, config.seed, lambda: advance(done + 1))
    tables = []
    for number, part in enumerate(parts, 1):
        path = work / f"{part.shift}-{part.step}.parquet"
        if not path.exists():
            _write(path, [row for chunk in _chunks(frames) for row in _measure(chunk, part, setup)])
        tables.append(pd.read_parquet(path))
        advance(each * number)
    return pd.concat(tables, ignore_index=True)


def chosen_frames(dataset: Dataset, limit: int) -> list[Item]:
    """At most `limit` frames of split test, half of them defective where there are enough of both classes.

    Of each class they are evenly spaced over the frames in order of defect and path, so that every kind of defect is
    there in its proportion, and a repetition takes the same.
    """
    test = [item for item in dataset.items if item.split == "test"]
    test.sort(key=lambda item: (item.defect, item.image))
    good = [item for item in test if not item.is_defective]
    defective = [item for item in test if item.is_defective]
    most = max(limit // 2, limit - len(good))
    taken = evenly_spaced(defective, min(most, len(defective)))
    return [*taken, *evenly_spaced(good, min(limit - len(taken), len(good)))]


def _measure(chunk: Sequence[_Frame], part: _Part, setup: _Setup) -> list[dict[str, object]]:
    images = [_seen(frame, part, setup.seed) for frame in chunk]
    rows = _rows(chunk, part, (ORIGINAL, None), [image.nbytes for image in images], images, setup.detectors)
    with ThreadPoolExecutor(WORKERS) as pool:
        for quality in setup.qualities:
            files = []
            for file in pool.map(partial(setup.codec.encode, quality=quality), images):
                files.append(file)
                setup.stepped()
            decoded = list(pool.map(setup.codec.decode, files))
            setting = setup.codec.codec_id, quality
            rows += _rows(chunk, part, setting, [len(file) for file in files], decoded, setup.detectors)
    return rows


def _seen(frame: _Frame, part: _Part, seed: int) -> Image:
    image = read_8_bit_image(frame.item.image)
    if part.shift == PLAIN:
        return image
    return shifted(image, part.shift, part.amount, seed=seed, frame_id=frame.frame_id)


def _rows(
    chunk: Sequence[_Frame],
    part: _Part,
    setting: tuple[str, int | None],
    sizes: Sequence[int],
    images: Sequence[Image],
    detectors: Sequence[TrainedDetector],
) -> list[dict[str, object]]:
    """A row per frame; the detectors work side by side, each in a thread of its own."""
    codec, quality = setting
    with ThreadPoolExecutor(len(detectors)) as pool:
        columns = list(pool.map(lambda trained: _scores(trained, chunk, part, images), detectors))
    rows: list[dict[str, object]] = []
    for place, (frame, size) in enumerate(zip(chunk, sizes, strict=True)):
        row = {"frame_id": frame.frame_id, "defect": frame.item.defect, "group": frame.item.group, **part._asdict()}
        row |= {"codec": codec, "quality": quality, "bytes": size}
        for trained, scores in zip(detectors, columns, strict=True):
            row[f"score_{trained.name}"] = scores[place]
            row[f"flag_{trained.name}"] = scores[place] >= trained.threshold
        rows.append(row)
    return rows


def _scores(trained: TrainedDetector, chunk: Sequence[_Frame], part: _Part, images: Sequence[Image]) -> list[float]:
    scores = []
    for frame, score in zip(chunk, scores_or_errors(trained.detector, images), strict=True):
        if isinstance(score, DetectorError):
            where = f"{frame.frame_id} under shift {part.shift}, step {part.step}"
            raise DetectorError(f"detector {trained.name}, frame {where}: {score}") from score
        scores.append(score)
    return scores


def _chunks(frames: Sequence[_Frame]) -> Iterator[Sequence[_Frame]]:
    for start in range(0, len(frames), CHUNK_FRAMES):
        yield frames[start : start + CHUNK_FRAMES]


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    buffer = io.BytesIO()
    pd.DataFrame(rows).astype({"quality": "Int64"}).to_parquet(buffer, index=False)
    write_file(path, buffer.getvalue(), overwrite=True)
