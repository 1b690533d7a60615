"""What is done with the frames of a line, made from its configuration. Running it is the business of the flow."""

from dataclasses import dataclass

import numpy as np

from inspect_compress.codecs import load_codec
from inspect_compress.guard import BEST, Floor
from inspect_compress.images import Image, read_image
from pipelines.config import CompressConfig, DetectConfig, LineConfig
from pipelines.datasets import Dataset, read_dataset, split_dataset
from pipelines.detectors import Detector, load_detector
from pipelines.detectors.depth import EightBitDetector
from pipelines.detectors.shared import SharedDetector
from pipelines.detectors.threshold import settle_threshold
from pipelines.line_codec import line_codec
from pipelines.policy import Policy, Setting
from pipelines.progress import Track
from pipelines.stages import Guard

SEED = 0
"""Of the dataset's splits and the detector's training: a run can be repeated."""


@dataclass(frozen=True)
class Chain:
    """What is done with the frames of a line. `late` is what late ones are given where the flow degrades them."""

    policy: Policy
    guard: Guard | None
    late: Setting
    detector: Detector | None
    detector_name: str


def line_late(config: LineConfig, policy: Policy) -> Setting:
    """What late frames are given."""
    codec = config.flow.degrade_codec
    return Setting(load_codec(codec) if codec else policy.default.codec, config.flow.degrade_to)


def line_dataset(config: LineConfig) -> Dataset | None:
    """The labelled frames that the detector learns from; None where there is no detector."""
    return split_dataset(read_dataset(config.detect.train), seed=SEED) if config.detect else None


def line_policy(config: LineConfig) -> Policy:
    """Which quality each frame is given. Raises ModelError where the line may not use its model."""
    codec, lossless = line_codec(config), Setting(load_codec(config.compress.lossless), BEST)
    rules = config.policy

    def setting(quality: int | str) -> Setting:
        return Setting(codec, quality) if isinstance(quality, int) else lossless

    return Policy(
        default=Setting(codec, config.compress.quality),
        products={name: setting(quality) for name, quality in rules.products.items()},
        suspect=None if rules.suspect is None else setting(rules.suspect),
        good=None if rules.good is None else setting(rules.good),
        audit=lossless if rules.audit_every else None,
        audit_every=rules.audit_every or 1,
    )


def line_guard(config: CompressConfig) -> Guard | None:
    """What every encoding has to stand; None where it is not verified."""
    if not config.verify:
        return None
    return Guard(load_codec(config.lossless), Floor(config.min_psnr, config.min_ms_ssim))


def trained_detector(config: DetectConfig, dataset: Dataset, track: Track) -> Detector:
    """The detector, fit on the train split, its threshold its own or fixed on the calibration split."""
    detector = EightBitDetector(load_detector(config.detector))
    for images, labels in track([_pixels(dataset, "train", track)], "training the detector", None):
        detector.fit(images, labels, seed=SEED)
    images, labels = _pixels(dataset, "calibration", track)
    detector.threshold = settle_threshold(
        detector, detector.score(images), labels, target_far=config.target_false_alarm_rate
    )
    return SharedDetector(detector)


def _pixels(dataset: Dataset, split: str, track: Track) -> tuple[list[Image], np.ndarray]:
    """The images of one split, and a bool array that is True where one is defective."""
    items = [item for item in dataset.items if item.split == split]
    images = [read_image(item.image) for item in track(items, f"reading the {split} split", len(items))]
    return images, np.array([item.is_defective for item in items], dtype=np.bool_)
