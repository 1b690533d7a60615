"""How often drift is called where there is none, and how often where frames changed.

`python -m evaluation.drift_trial FOLDER` prints it for a folder of frames of one product.
The frames are encoded as they are, and changed; windows are drawn from what was measured, again and again.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspect_compress.codecs import load_codec
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image, list_images, read_image
from pipelines.drift.observer import KINDS
from pipelines.drift.settings import DriftConfig
from pipelines.drift.watch import Watch

Values = NDArray[np.float64]

STATED = (0.05, 0.01, 0.001)
"""False-alarm rates of one kind that can be counted; the default is too low for that."""
LINES = 40
"""Baselines that are drawn, for each as many windows as asked for."""
_SMOOTHING = 0.1
"""Standard deviations that a drawn value is moved by, so that a small pool has no ties."""


def changes() -> dict[str, Callable[[Image], Image]]:
    """What is done to frames, by its name."""
    darker = {f"{percent} % darker": _darker(percent) for percent in (1, 2, 5, 10)}
    blurred = {f"blurred, σ {sigma} pixels": _blurred(sigma) for sigma in (0.3, 0.4, 0.5, 0.7)}
    return darker | blurred


def measure(images: Sequence[Image], codec_name: str, quality: int) -> dict[str, Values]:
    """bpp and PSNR of each image."""
    codec, rows = load_codec(codec_name), []
    for image in images:
        data = codec.encode(image, quality=quality)
        rows.append((8 * len(data) / (image.shape[0] * image.shape[1]), psnr(image, codec.decode(data))))
    bpp, fidelity = np.array(rows).T
    return {"bpp": bpp, "fidelity": fidelity}


def alarm_rate(
    pool: Values, changed: Values, settings: DriftConfig, level: float, windows: int, rng: np.random.Generator
) -> float:
    """The share of windows of `changed` that depart, at `level`, from baselines drawn from `pool`."""
    alarms = 0
    spread = _SMOOTHING * float(pool.std())

    def drawn(values: Values, count: int) -> Values:
        return rng.choice(values, count) + spread * rng.normal(size=count)

    for _ in range(LINES):
        baseline = drawn(pool, settings.baseline).tolist()
        for _ in range(windows // LINES):
            watch = Watch(learn=0, size=settings.window, level=level, baseline=baseline)
            alarms += any(map(watch.put, drawn(changed, settings.window).tolist()))
    return alarms / (windows // LINES * LINES)


def main() -> None:
    """Print how often windows depart from their baseline: of frames that did not change, and of those that did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, help="a folder of frames of one product")
    parser.add_argument("--codec", default="qarv")
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--windows", type=int, default=10_000, help="where nothing changed; a tenth where it did")
    options = parser.parse_args()
    settings, rng = DriftConfig(), np.random.default_rng(0)
    images = [read_image(path) for path in list_images(options.frames)]
    pool = measure(images, options.codec, options.quality)
    print(f"{len(images)} frames; baselines of {settings.baseline}, windows of {settings.window}\n")
    print("| stated for each | bpp | fidelity |\n|---|---|---|")
    for stated in STATED:
        found = [alarm_rate(values, values, settings, stated, options.windows, rng) for values in pool.values()]
        print(f"| {stated:.1%} | {found[0]:.2%} | {found[1]:.2%} |")
    print("\n| change | bpp | fidelity |\n|---|---|---|")
    level = settings.false_alarm_rate / KINDS
    for name, change in changes().items():
        new = measure([change(image) for image in images], options.codec, options.quality)
        found = [alarm_rate(pool[kind], new[kind], settings, level, options.windows // 10, rng) for kind in pool]
        print(f"| {name} | {found[0]:.1%} | {found[1]:.1%} |")


def _darker(percent: int) -> Callable[[Image], Image]:
    return lambda image: np.round(image.astype(np.float64) * (1 - percent / 100)).astype(np.uint8)


def _blurred(sigma: float) -> Callable[[Image], Image]:
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), image.dtype)


if __name__ == "__main__":
    main()
