"""Prints how well the installed detectors tell good from defective on a labelled set, without any codec.

`python -m pipelines.detectors.evaluate sample_data/labels.csv` trains on the split `train` and scores `test`;
with `--folds N` the split `test` is not read, and `train` is cross-validated: that is for choosing settings.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from inspect_compress.errors import DatasetError, InspectCompressError
from inspect_compress.images import Image, read_8_bit_image
from pipelines.datasets import read_dataset
from pipelines.detectors import Labels, Scores, detector_names, load_detector


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        for name in options.detector or detector_names():
            _report(name, options.labels, options.folds, options.seed)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read_split(labels: Path, split: str) -> tuple[list[Image], Labels]:
    """Images and labels, (N,) bool, of one split of a labelled set.

    Raises DatasetError, or ImageError for an image that cannot be read.
    """
    items = [item for item in read_dataset(labels).items if item.split == split]
    if not items:
        raise DatasetError(f"{labels}: has no rows of split {split!r}; name one so")
    return [read_8_bit_image(item.image) for item in items], np.array([item.is_defective for item in items])


def cross_validated(name: str, images: list[Image], labels: Labels, *, folds: int, seed: int) -> Scores:
    """Score every image with a detector that was trained on the other folds."""
    scores = np.zeros(len(images))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(images)), labels)
    for kept, left_out in parts:
        detector = load_detector(name).fit([images[i] for i in kept], labels[kept], seed=seed)
        scores[left_out] = detector.score([images[i] for i in left_out])
    return scores


def _report(name: str, labels_csv: Path, folds: int | None, seed: int) -> None:
    images, labels = read_split(labels_csv, "train")
    if folds:
        scores = cross_validated(name, images, labels, folds=folds, seed=seed)
        print(f"{name}: AUROC {roc_auc_score(labels, scores):.3f} on train, {folds}-fold cross-validation")
        return
    started = time.perf_counter()
    detector = load_detector(name).fit(images, labels, seed=seed)
    fitted = time.perf_counter()
    test_images, test_labels = read_split(labels_csv, "test")
    scored_from = time.perf_counter()
    scores = detector.score(test_images)
    rate = len(test_images) / (time.perf_counter() - scored_from)
    print(
        f"{name}: AUROC {roc_auc_score(test_labels, scores):.3f} on {_counts(test_labels)} test images; "
        f"trained on {_counts(labels)} in {fitted - started:.1f} s, scored {rate:.0f} images/s"
    )


def _counts(labels: NDArray[np.bool_]) -> str:
    return f"{(~labels).sum()} good and {labels.sum()} defective"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.detectors.evaluate", description=__doc__)
    parser.add_argument("labels", type=Path, metavar="LABELS_CSV", help="the set's labels.csv")
    parser.add_argument("--detector", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--folds", type=int, metavar="N", help="cross-validate on train, do not read test")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the training (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
