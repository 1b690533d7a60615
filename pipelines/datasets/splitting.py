"""Dealing the frames of a dataset out to the splits train, calibration and test, each group whole.

Nothing is read from disk here, and whether the frames of two splits look alike is not asked: see
`evaluation.leakage`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from inspect_compress.errors import DatasetError
from pipelines.datasets.items import SPLITS, Dataset, Item

SHARES = {"train": 0.5, "calibration": 0.2, "test": 0.3}
"""How frames are dealt out where no split is given."""
CALIBRATION_SHARE = 0.25
"""How much of a given train split becomes the calibration split where none is given."""

MIN_GOOD = {"train": 10, "calibration": 10, "test": 5}
MIN_DEFECTIVE = {"train": 0, "calibration": 0, "test": 5}
"""Fewest frames per split with which a run goes ahead. They keep out nonsense; they do not promise proof."""


def split_dataset(dataset: Dataset, *, seed: int = 0) -> Dataset:
    """Return the dataset with a split for each frame, fit to train, calibrate and test a detector.

    Splits that are given stay. Where train and test are given, part of train becomes calibration; where
    nothing is given, all frames are dealt out, stratified by defect and with each group in one split. The
    same dataset and seed give the same splits. Raises DatasetError where a class is missing or a split holds
    too few frames.
    """
    _check_two_classes(dataset)
    given = Counter(item.split for item in dataset.items)
    if set(given) == {""}:
        dataset = replace(dataset, items=_deal(dataset.items, SHARES, seed))
    elif "" in given:
        raise DatasetError(
            f"{dataset.root}: {given['']} of {len(dataset.items)} frames have no split; give all or none"
        )
    elif "train" not in given or "test" not in given:
        missing = " and ".join(name for name in ("train", "test") if name not in given)
        raise DatasetError(f"{dataset.root}: no frame is in split {missing}; give train and test, or none")
    elif "calibration" not in given:
        dataset = replace(dataset, items=_carve_calibration(dataset.items, seed))
    _check_sizes(dataset)
    return dataset


def _check_two_classes(dataset: Dataset) -> None:
    defective = sum(item.is_defective for item in dataset.items)
    if defective in (0, len(dataset.items)):
        kind = "good" if not defective else "defective"
        raise DatasetError(
            f"{dataset.root}: all {len(dataset.items)} frames are {kind}; good and defective ones are needed"
        )


def _check_sizes(dataset: Dataset) -> None:
    groups = len({item.group for item in dataset.items} - {""})
    kept = f", in {groups} groups that are kept whole" if groups else ""
    for split in SPLITS:
        for defective, minimum in ((True, MIN_DEFECTIVE[split]), (False, MIN_GOOD[split])):
            alike = [item for item in dataset.items if item.is_defective == defective]
            found = sum(item.split == split for item in alike)
            if found < minimum:
                kind = "defective" if defective else "good"
                raise DatasetError(
                    f"{dataset.root}: split {split} has {found} {kind} frames; at least {minimum} are needed "
                    f"(the dataset has {len(alike)} {kind} ones{kept})"
                )


def _carve_calibration(items: Sequence[Item], seed: int) -> tuple[Item, ...]:
    train = [item for item in items if item.split == "train"]
    shares = {"train": 1 - CALIBRATION_SHARE, "calibration": CALIBRATION_SHARE}
    dealt = iter(_deal(train, shares, seed))
    return tuple(next(dealt) if item.split == "train" else item for item in items)


def _deal(items: Sequence[Item], shares: Mapping[str, float], seed: int) -> tuple[Item, ...]:
    """Items with splits in the proportions of `shares`, for each defect class and over all defects.

    Groups are dealt whole, largest first, each to the split that still lacks most of what is in it.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[f"group {item.group}" if item.group else f"frame {index}"].append(index)
    members = list(groups.values())
    order = np.random.default_rng(seed).permutation(len(members))
    total = Counter(label for item in items for label in _strata(item))
    needs = {split: {label: share * n for label, n in total.items()} for split, share in shares.items()}
    split_of: dict[int, str] = {}
    for indices in sorted((members[i] for i in order), key=len, reverse=True):
        content = Counter(label for index in indices for label in _strata(items[index]))
        lack = {s: sum(n * needs[s][k] / total[k] for k, n in content.items()) for s in shares}
        chosen = max(lack, key=lack.__getitem__)
        for label, n in content.items():
            needs[chosen][label] -= n
        split_of.update(dict.fromkeys(indices, chosen))
    return tuple(replace(item, split=split_of[index]) for index, item in enumerate(items))


def _strata(item: Item) -> tuple[str, str]:
    return f"class {item.defect}", "defective" if item.is_defective else "good"
