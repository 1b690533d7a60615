"""The chain swept over codecs and qualities: encode, store, read back, decode, detect. Judges nothing.

Each detector is trained on the originals of the train split, and its threshold fixed on the originals of the
calibration split. Then every codec and quality sees the same test frames, in memory that does not grow with
their number.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from evaluation.pilot_config import PilotConfig
from inspect_compress.codecs import Codec, load_codec
from inspect_compress.errors import DatasetError, DetectorError
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image, read_8_bit_image
from pipelines.archive import Archive, ArchivedFrame
from pipelines.datasets import Dataset, Item, read_mask
from pipelines.detectors import Detector, Scores, load_detector
from pipelines.detectors.threshold import calibrate_threshold

WORKERS = 2
"""Threads that encode and decode. Codecs leave Python's lock; more threads than a small machine's cores."""
CHUNK_FRAMES = 256
"""Test frames held in memory at once, as originals and as decoded frames of one codec and quality."""
MIN_TRAIN_DEFECTIVE = 8
"""Fewest defective train frames for a detector that learns from defects."""

Step = Callable[[str, int, int], None]
"""Told after each step: the phase (`train` or `measure`), steps done in it, and steps in all."""


@dataclass(frozen=True)
class TrainedDetector:
    """A detector with its threshold, which stays as it is for all codecs and qualities."""

    name: str
    detector: Detector
    threshold: float


@dataclass(frozen=True)
class Sweep:
    """What was measured.

    `originals` has a row per test frame: `frame_id`, `image`, `mask`, `defect`, `group`, `width`, `height`,
    `channels`, `bytes` (of the original's file), `raw_bytes`, `psnr` (NaN) and `score_NAME` per detector.
    `results` has a row per test frame, codec and quality: besides `frame_id`, `defect`, `group` and the
    sizes, `codec`, `model`, `quality`, `bytes` (of the encoded file), `bpp`, `psnr` (dB, NaN where nothing
    changed) and `score_NAME`. `left_out` names the detectors that could not be trained, for want of
    defective train frames.
    """

    originals: pd.DataFrame
    results: pd.DataFrame
    thresholds: dict[str, float]
    left_out: tuple[str, ...]


class _Original(NamedTuple):
    frame_id: str
    item: Item
    image: Image
    file_bytes: int
    captured_at: datetime


class _Setting(NamedTuple):
    codec: Codec
    quality: int


def sweep(dataset: Dataset, config: PilotConfig, archive: Archive, *, step: Step) -> Sweep:
    """Run the chain on a dataset with splits (`split_dataset`); the encoded frames go to `archive`.

    Raises ConfigError for an unknown codec or detector, ImageError for an image that cannot be read,
    DetectorError for a detector that fails, DatasetError where no detector can be trained.
    """
    settings = [
        _Setting(codec, quality)
        for codec in [load_codec(name) for name in config.codecs]
        for quality in sorted(config.qualities, reverse=True)
    ]
    items = [item for item in dataset.items if item.split == "test"]
    for item in items:  # a file that cannot be read is better met before the training than after the sweep
        read_mask(item, read_8_bit_image(item.image).shape)
    detectors, left_out = train_detectors(dataset, config, step=step)
    steps, total = count(1), len(items) * len(settings)

    def stepped() -> None:
        step("measure", next(steps), total)

    originals: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    for chunk in _chunks(_read_originals(dataset, items), CHUNK_FRAMES):
        rows = [_original_row(frame) for frame in chunk]
        originals += _score_rows(rows, [frame.image for frame in chunk], detectors)
        for setting in settings:
            results += _measure(chunk, setting, archive, detectors, stepped)
    return Sweep(
        pd.DataFrame(originals),
        pd.DataFrame(results),
        {trained.name: trained.threshold for trained in detectors},
        left_out,
    )


def train_detectors(
    dataset: Dataset, config: PilotConfig, *, step: Step
) -> tuple[list[TrainedDetector], tuple[str, ...]]:
    """Train and calibrate on the originals; also name the detectors left out for want of defective frames."""
    untrained = {name: load_detector(name) for name in config.detectors}
    train, train_labels = _images_of(dataset, "train")
    calibration, calibration_labels = _images_of(dataset, "calibration")
    trained: list[TrainedDetector] = []
    left_out: list[str] = []
    for done, (name, detector) in enumerate(untrained.items()):
        step("train", done, len(config.detectors))
        if detector.needs_defects and train_labels.sum() < MIN_TRAIN_DEFECTIVE:
            left_out.append(name)
            continue
        detector.fit(train, train_labels, seed=config.seed)
        scores = _scores(name, detector, calibration)
        threshold = calibrate_threshold(scores, calibration_labels, target_far=config.target_false_alarm_rate)
        detector.threshold = float(threshold)
        trained.append(TrainedDetector(name, detector, float(threshold)))
    step("train", len(config.detectors), len(config.detectors))
    if not trained:
        raise DatasetError(
            f"{dataset.root}: has {train_labels.sum()} defective train frames, {', '.join(left_out)} needs "
            f"{MIN_TRAIN_DEFECTIVE} or more; add frames, or use a detector that learns from good ones"
        )
    return trained, tuple(left_out)


def frame_ids(dataset: Dataset, items: Iterable[Item]) -> list[str]:
    """A name for each frame: its path below the dataset's folder, or its whole path if it lies elsewhere."""
    paths = (item.image for item in items)
    return [(p.relative_to(dataset.root) if p.is_relative_to(dataset.root) else p).as_posix() for p in paths]


def _images_of(dataset: Dataset, split: str) -> tuple[list[Image], np.ndarray]:
    items = [item for item in dataset.items if item.split == split]
    return [read_8_bit_image(item.image) for item in items], np.array([item.is_defective for item in items], bool)


def _read_originals(dataset: Dataset, items: Sequence[Item]) -> Iterator[_Original]:
    for frame_id, item in zip(frame_ids(dataset, items), items, strict=True):
        status = item.image.stat()
        captured_at = datetime.fromtimestamp(status.st_mtime, UTC)
        yield _Original(frame_id, item, read_8_bit_image(item.image), status.st_size, captured_at)


def _chunks(frames: Iterator[_Original], size: int) -> Iterator[list[_Original]]:
    while chunk := list(islice(frames, size)):
        yield chunk


def _measure(
    chunk: Sequence[_Original],
    setting: _Setting,
    archive: Archive,
    detectors: Sequence[TrainedDetector],
    stepped: Callable[[], None],
) -> list[dict[str, object]]:
    """Encode a chunk, store it, and measure what the archive gives back; `stepped` is called per frame.

    Decoding is cached by the bytes, as each payload is decoded before it is stored, to state its PSNR in the
    archive, and again when it was read back.
    """
    decode = cache(setting.codec.decode)
    with ThreadPoolExecutor(WORKERS) as pool:
        encoded = pool.map(lambda frame: _encode(frame, setting, decode), chunk)
        archive.append(_counted(encoded, stepped))
        stored = _read_back(archive, setting, [frame.frame_id for frame in chunk])
        decoded = list(pool.map(lambda record: decode(record.payload), stored))
    rows = [_result_row(*triple) for triple in zip(chunk, stored, decoded, strict=True)]
    return _score_rows(rows, decoded, detectors)


def _counted(records: Iterable[ArchivedFrame], stepped: Callable[[], None]) -> Iterator[ArchivedFrame]:
    for record in records:
        yield record
        stepped()


def _encode(frame: _Original, setting: _Setting, decode: Callable[[bytes], Image]) -> ArchivedFrame:
    payload = setting.codec.encode(frame.image, quality=setting.quality)
    fidelity = psnr(frame.image, decode(payload))
    return ArchivedFrame(
        frame_id=frame.frame_id,
        captured_at=frame.captured_at,
        codec=setting.codec.codec_id,
        model=setting.codec.model,
        quality=setting.quality,
        width=frame.image.shape[1],
        height=frame.image.shape[0],
        channels=1 if frame.image.ndim == 2 else 3,
        payload=payload,
        pixels_sha256=hashlib.sha256(frame.image.tobytes()).hexdigest(),
        psnr=fidelity if math.isfinite(fidelity) else None,
    )


def _read_back(archive: Archive, setting: _Setting, ids: Sequence[str]) -> list[ArchivedFrame]:
    """The stored frames of one codec and quality, in the order of `ids`."""
    where = (
        (pc.field("codec") == setting.codec.codec_id)
        & (pc.field("quality") == setting.quality)
        & pc.field("frame_id").isin(list(ids))
    )
    found = {record.frame_id: record for record in archive.frames(where=where)}
    return [found[frame_id] for frame_id in ids]


def _original_row(frame: _Original) -> dict[str, object]:
    return {
        **_frame_columns(frame),
        "image": str(frame.item.image),
        "mask": str(frame.item.mask) if frame.item.mask else "",
        "bytes": frame.file_bytes,
        "raw_bytes": frame.image.nbytes,
        "psnr": math.nan,
    }


def _result_row(frame: _Original, record: ArchivedFrame, decoded: Image) -> dict[str, object]:
    fidelity = psnr(frame.image, decoded)
    return {
        **_frame_columns(frame),
        "codec": record.codec,
        "model": record.model,
        "quality": record.quality,
        "bytes": len(record.payload),
        "original_bytes": frame.file_bytes,
        "bpp": 8 * len(record.payload) / (record.width * record.height),
        "psnr": fidelity if math.isfinite(fidelity) else math.nan,
    }


def _frame_columns(frame: _Original) -> dict[str, object]:
    return {
        "frame_id": frame.frame_id,
        "defect": frame.item.defect,
        "group": frame.item.group,
        "width": frame.image.shape[1],
        "height": frame.image.shape[0],
        "channels": 1 if frame.image.ndim == 2 else 3,
    }


def _score_rows(
    rows: list[dict[str, object]], images: Sequence[Image], detectors: Sequence[TrainedDetector]
) -> list[dict[str, object]]:
    """Add each detector's scores to the rows; the detectors work side by side, each in a thread of its own."""
    with ThreadPoolExecutor(len(detectors)) as pool:
        columns = list(pool.map(lambda trained: _scores(trained.name, trained.detector, images), detectors))
    for trained, scores in zip(detectors, columns, strict=True):
        for row, score in zip(rows, scores, strict=True):
            row[f"score_{trained.name}"] = float(score)
    return rows


def _scores(name: str, detector: Detector, images: Sequence[Image]) -> Scores:
    scores = np.asarray(detector.score(images), np.float64)
    if scores.shape != (len(images),):
        raise DetectorError(f"detector {name}: gave scores of shape {scores.shape} for {len(images)} images")
    if not np.isfinite(scores).all():
        raise DetectorError(f"detector {name}: gave a score that is not a finite number")
    return scores
