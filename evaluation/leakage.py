"""Frames that two splits share, so that a detector is tested on what it was trained on: copies, exact and near.

Frames that merely look alike, as good parts of one product do, are no leak and are not reported; neither are
turned, mirrored or cropped copies found. docs/datasets.md says what was measured, and what to do about a leak.

`python -m evaluation.leakage DATASET` prints what is found.
"""

import argparse
import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from evaluation.signatures import LENGTH, Signatures, Vectors, common_patterns, most_alike, signature
from inspect_compress.errors import InspectCompressError
from inspect_compress.images import Image, read_image, sample_bytes
from pipelines.datasets import SPLITS, Dataset, read_dataset, split_dataset

NEAR = 0.45
"""Frames at least this alike (`signatures.most_alike`) are near copies. Set on real frames, see docs/datasets.md."""

METHOD = (
    "exact: SHA-256 of the pixels; near: perceptual hash of phases up to 32 cycles per side, compared by phase-only "
    f"correlation at shifts of up to 1.6 % of the side, less what most frames have in common; at least {NEAR}"
)


@dataclass(frozen=True)
class Pair:
    """Two frames that show the same picture, `first` of the earlier split (train, calibration, test).

    `distance` is 100 times (1 - likeness), rounded: 0 for the same picture, 55 for one that is just near.
    """

    first: str
    second: str
    first_split: str
    second_split: str
    distance: int


@dataclass(frozen=True)
class Leakage:
    """What the splits of a dataset share. Frames are named by their paths below its folder.

    `exact` and `near` are between two splits: for each frame of the later one its copy, or if it has none there
    the frame most like it, in the earlier one. `duplicates` are exact copies in one split, each with the first of
    them. `groups` are those that lie in more than one split. `method` says in one sentence how it was found.
    """

    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]
    groups: tuple[str, ...]
    method: str
    duplicates: tuple[Pair, ...] = ()

    @property
    def leaked(self) -> tuple[str, ...]:
        """The test frames with a copy, exact or near, in another split."""
        return tuple(sorted({pair.second for pair in (*self.exact, *self.near) if pair.second_split == "test"}))


@dataclass(frozen=True)
class _Looks:
    """A split's frames: their names, the hashes of their pixels, their signatures."""

    names: list[str]
    pixels: list[str]
    signatures: Signatures


def find_leakage(dataset: Dataset) -> Leakage:
    """Compare all frames of a dataset with splits. Raises ImageError for a frame that cannot be read."""
    looks = {split: _looks(dataset, split) for split in SPLITS}
    patterns = common_patterns(np.concatenate([each.signatures for each in looks.values()]))
    exact: list[Pair] = []
    near: list[Pair] = []
    for first, second in combinations(SPLITS, 2):
        exact += _exact(looks[first], looks[second], first, second)
        near += _near(looks[first], looks[second], patterns, first, second)
    return Leakage(
        exact=tuple(exact),
        near=tuple(sorted(near, key=lambda pair: pair.distance)),
        groups=_torn_groups(dataset),
        method=METHOD,
        duplicates=tuple(pair for split in SPLITS for pair in _duplicates(looks[split], split)),
    )


def pixel_sha256(image: Image) -> str:
    """SHA-256 of shape and samples, in hexadecimal; a colour image without colour counts as mono."""
    if image.ndim == 3 and (image == image[..., :1]).all():
        image = image[..., 0]
    head = f"{image.dtype.name} {image.shape} ".encode()
    return hashlib.sha256(head + sample_bytes(image)).hexdigest()


def _looks(dataset: Dataset, split: str) -> _Looks:
    items = [item for item in dataset.items if item.split == split]
    signatures = np.empty((len(items), LENGTH), np.uint8)
    pixels = []
    for row, item in zip(signatures, items, strict=True):
        image = read_image(item.image)
        row[:] = signature(image)
        pixels.append(pixel_sha256(image))
    return _Looks([dataset.name_of(item.image) for item in items], pixels, signatures)


def _exact(first: _Looks, second: _Looks, first_split: str, second_split: str) -> Iterator[Pair]:
    originals = dict(zip(reversed(first.pixels), reversed(first.names), strict=True))
    for name, pixels in zip(second.names, second.pixels, strict=True):
        if pixels in originals:
            yield Pair(originals[pixels], name, first_split, second_split, 0)


def _near(first: _Looks, second: _Looks, patterns: Vectors, first_split: str, second_split: str) -> Iterator[Pair]:
    copied = set(first.pixels)
    likeness, which = most_alike(second.signatures, first.signatures, patterns)
    for name, pixels, alike, index in zip(second.names, second.pixels, likeness, which, strict=True):
        if alike >= NEAR and pixels not in copied:
            distance = round(100 * (1 - min(float(alike), 1)))
            yield Pair(first.names[index], name, first_split, second_split, distance)


def _duplicates(looks: _Looks, split: str) -> Iterator[Pair]:
    seen: dict[str, str] = {}
    for name, pixels in zip(looks.names, looks.pixels, strict=True):
        if seen.setdefault(pixels, name) != name:
            yield Pair(seen[pixels], name, split, split, 0)


def _torn_groups(dataset: Dataset) -> tuple[str, ...]:
    splits: dict[str, set[str]] = defaultdict(set)
    for item in dataset.items:
        splits[item.group].add(item.split)
    return tuple(sorted(group for group, found in splits.items() if group and len(found) > 1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a labels.csv, or a folder of a layout that is read")
    parser.add_argument("--seed", type=int, default=0, help="of the splits, where they are not given")
    options = parser.parse_args(arguments)
    try:
        dataset = split_dataset(read_dataset(options.dataset), seed=options.seed)
        leakage = find_leakage(dataset)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(_described(dataset, leakage)))
    return 0


def _described(dataset: Dataset, leakage: Leakage) -> Iterator[str]:
    frames = Counter(item.split for item in dataset.items)
    yield "| splits | exact | near |\n|---|---|---|"
    for splits in combinations(SPLITS, 2):
        counts = [
            sum((pair.first_split, pair.second_split) == splits for pair in pairs)
            for pairs in (leakage.exact, leakage.near)
        ]
        yield f"| {splits[0]} – {splits[1]} | {counts[0]:,} | {counts[1]:,} |"
    yield f"\ntest frames with a copy in another split: {len(leakage.leaked):,} of {frames['test']:,}"
    yield f"exact copies inside a split: {len(leakage.duplicates):,}"
    yield f"groups in more than one split: {', '.join(leakage.groups) or 'none'}\n"
    for pair in (*leakage.exact, *leakage.near, *leakage.duplicates):
        yield f"{pair.distance:3d}  {pair.first_split} {pair.first}  {pair.second_split} {pair.second}"


if __name__ == "__main__":
    sys.exit(main())
