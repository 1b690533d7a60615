"""The trial that docs/drift.md quotes: its rates are those of the watch that lines have."""

import numpy as np

from evaluation.drift_trial import alarm_rate, changes, measure
from inspect_compress.images import Image
from pipelines.drift.settings import DriftConfig


def frames() -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.normal(150, 5 + rng.random(), (48, 56)).round().astype(np.uint8) for _ in range(60)]


def test_changed_frames_depart_and_others_do_not() -> None:
    settings = DriftConfig(baseline=100, window=50)
    pool = measure(frames(), "jpeg", 80)
    dark = measure([changes()["10 % darker"](image) for image in frames()], "jpeg", 80)
    rng = np.random.default_rng(1)
    assert alarm_rate(pool["bpp"], pool["bpp"], settings, 0.001, 80, rng) < 0.05
    assert alarm_rate(pool["bpp"], dark["bpp"], settings, 0.001, 80, rng) > 0.95
