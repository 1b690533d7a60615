"""Where a frame's priority regions come from: masks that somebody drew, or what a detector finds strange."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inspect_compress.errors import ConfigError
from inspect_compress.images import Image, list_images, read_8_bit_image, read_image
from inspect_compress.plugins import load_plugin

MaskOf = Callable[[Path], Image | None]
"""Gives a frame's mask, `uint8` `(H, W)`, by the frame's path; None where no region has priority."""

_DETECTORS = "inspect_compress.detectors"
_HELD_OUT = 5
"""Every fifth good frame is kept from the detector's training, to learn what is usual in one that it has not seen."""
_USUAL = 0.999
"""The part of the held-out good frames' pixels that is not strange."""


def mask_source(source: Path, masks: Path | None, detector: str | None, good_frames: Path | None) -> MaskOf:
    """Masks from files, from a detector, or none. Raises ConfigError where what is given does not go together."""
    if masks and detector:
        raise ConfigError("give a mask or a detector for priority, not both")
    if (detector is None) != (good_frames is None):
        raise ConfigError("a detector that decides on priority needs --good-frames to learn from, and only that does")
    if masks:
        return drawn_masks(source, masks)
    if detector and good_frames:
        return detected_masks(detector, good_frames)
    return lambda frame: None


def drawn_masks(source: Path, masks: Path) -> MaskOf:
    """The masks of one file for all frames, or of a folder with one for each.

    In a folder a mask lies where its frame lies below `source`, under the frame's name but for the suffix.
    Raises ImageError and ConfigError, then or when it is called.
    """
    if not masks.is_dir():
        mask = read_image(masks)
        return lambda frame: mask
    by_name = {path.relative_to(masks).with_suffix(""): path for path in list_images(masks)}

    def mask_of(frame: Path) -> Image:
        name = Path(frame.name) if frame == source else frame.relative_to(source)
        if name.with_suffix("") not in by_name:
            raise ConfigError(f"{masks}: holds no mask {name.with_suffix('.png')}")
        return read_image(by_name[name.with_suffix("")])

    return mask_of


def detected_masks(detector: str, good_frames: Path) -> MaskOf:
    """The places where a detector's heatmap is above all but a thousandth of what good frames show.

    The detector is trained on four fifths of the images in the folder `good_frames`, and the level set on the rest.
    Raises ConfigError, ImageError and DetectorError.
    """
    trained = load_plugin(_DETECTORS, detector, kind="detector")()
    if not isinstance(trained, _Mapping):
        raise ConfigError(f"detector {detector} has no heatmap, so it cannot say where priority is; anomaly has one")
    good = [read_8_bit_image(path) for path in list_images(good_frames)]
    known = [image for number, image in enumerate(good) if number % _HELD_OUT]
    trained.fit(known, np.zeros(len(known), bool))
    usual = np.concatenate([trained.heatmap(image).ravel() for image in good[::_HELD_OUT]])
    level = float(np.quantile(usual, _USUAL))

    def mask_of(frame: Path) -> Image | None:
        strange = trained.heatmap(read_8_bit_image(frame)) > level
        return np.where(strange, 255, 0).astype(np.uint8) if strange.any() else None

    return mask_of


@runtime_checkable
class _Mapping(Protocol):
    def fit(self, images: Sequence[Image], labels: NDArray[np.bool_]) -> object: ...

    def heatmap(self, image: Image) -> NDArray[np.float64]: ...
