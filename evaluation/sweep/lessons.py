"""Which frames a scenario's detectors learn from, and in which version. Reads no image.

frozen: the originals. adapted: decoded frames of one codec and quality. aware: a mix of both, each frame once.
All learn from equally many frames, so that scenarios differ in what the frames went through and in nothing else.
"""

from collections.abc import Sequence

import numpy as np

from evaluation.sweep.coding import Setting
from pipelines.datasets import Dataset, Item


def train_items(dataset: Dataset, most: int, seed: int) -> list[Item]:
    """At most `most` frames of the train split, drawn with `seed`, in the dataset's order.

    Defective frames are the rarer ones: where frames are left out, they take up to half of the places.
    """
    items = [item for item in dataset.items if item.split == "train"]
    if len(items) <= most:
        return items
    order = np.random.default_rng(seed).permutation(len(items))
    defective = [i for i in order if items[i].is_defective]
    good = [i for i in order if not items[i].is_defective]
    kept = defective[: max(most // 2, most - len(good))]
    return [items[i] for i in sorted(kept + good[: most - len(kept)])]


def versions(items: Sequence[Item], settings: Sequence[Setting], seed: int) -> list[Setting | None]:
    """For each frame the version in which it is in the mix: None for the original, else a codec and quality.

    The originals and each codec get equal shares of the good and of the defective frames, and so does each
    quality within a codec.
    """
    codecs = list(dict.fromkeys(setting.codec.codec_id for setting in settings))
    of_codec = [[setting for setting in settings if setting.codec.codec_id == codec] for codec in codecs]
    dealt: list[Setting | None] = [None] * len(items)
    order = np.random.default_rng(seed).permutation(len(items))
    for defective in (True, False):
        for place, index in enumerate(i for i in order if items[i].is_defective == defective):
            turn, kind = divmod(place, len(codecs) + 1)
            if kind:
                qualities = of_codec[kind - 1]
                dealt[index] = qualities[turn % len(qualities)]
    return dealt
