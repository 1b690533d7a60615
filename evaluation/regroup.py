"""A way out of leaking splits where parts have no numbers: frames that show the same picture become a group.

`python -m evaluation.regroup DATASET LABELS_CSV` writes a table of the dataset in which copies, exact and near, share
a group, and no split is given; a run on that table deals the groups out whole. It invents no number of a part:
where a plant has them, they are the better groups.
"""

import argparse
import csv
import io
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluation.leakage import NEAR, pixel_sha256
from evaluation.signatures import LENGTH, alike_pairs, common_patterns, signature
from inspect_compress.errors import InspectCompressError
from inspect_compress.files import write_file
from inspect_compress.images import read_image
from pipelines.datasets import Dataset, read_dataset


def regroup(dataset: Dataset) -> Dataset:
    """The dataset without splits, its groups joined where their frames show the same picture.

    A frame that is like no other, and of no group, stays of none. Raises ImageError for a frame that cannot be read.
    """
    signatures = np.empty((len(dataset.items), LENGTH), np.uint8)
    pixels = []
    for row, item in zip(signatures, dataset.items, strict=True):
        image = read_image(item.image)
        row[:] = signature(image)
        pixels.append(pixel_sha256(image))
    near = alike_pairs(signatures, common_patterns(signatures), NEAR)
    links = np.concatenate([near, _links(pixels), _links([item.group for item in dataset.items])])
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(pixels), len(pixels)))
    _, component = connected_components(graph, directed=False)
    sizes = Counter(component.tolist())
    items = (
        replace(item, split="", group=f"alike-{number:05d}" if sizes[number] > 1 else item.group)
        for item, number in zip(dataset.items, component.tolist(), strict=True)
    )
    return replace(dataset, items=tuple(items))


def write_labels(dataset: Dataset, path: Path) -> None:
    """Write the dataset as a `labels.csv` that names its files by their whole paths. Raises OutputError."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "defect", "mask", "split", "group"])
    for item in dataset.items:
        mask = item.mask.resolve() if item.mask else ""
        writer.writerow([item.image.resolve(), item.defect, mask, item.split, item.group])
    write_file(path, buffer.getvalue().encode())


def _links(names: Sequence[str]) -> NDArray[np.int64]:
    """Indices of the same name as a chain of pairs, `(pairs, 2)`; an empty name links nothing."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        members[name].append(index)
    pairs = [pair for name, indices in members.items() if name for pair in pairwise(indices)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a labels.csv, or a folder of a layout that is read")
    parser.add_argument("labels", type=Path, help="the new table")
    options = parser.parse_args(arguments)
    try:
        dataset = regroup(read_dataset(options.dataset))
        write_labels(dataset, options.labels)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    groups = Counter(item.group for item in dataset.items if item.group)
    largest = max(groups.values(), default=0)
    print(f"{options.labels}: {len(dataset.items)} frames, {groups.total()} of them in {len(groups)} groups")
    print(f"largest group: {largest} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
