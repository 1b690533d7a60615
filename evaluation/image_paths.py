"""The images of a dataset as a list of paths. For their labels, see `pipelines.datasets`."""

import csv
from pathlib import Path

from inspect_compress.errors import DatasetError
from inspect_compress.images import list_images

LABELS = "labels.csv"
DEFAULT_SPLIT = "test"


def image_paths(dataset: Path, split: str | None = None) -> list[Path]:
    """The image files of `dataset`: a folder of images, a folder with a `labels.csv`, or a CSV file.

    A CSV names one image per row, relative to its own folder, in the column `image`. Where it has a column
    `split`, only the rows of `split` count (`test` if None). Raises DatasetError where nothing is left, or
    where a split is asked of a dataset that has none.
    """
    dataset = Path(dataset)
    table = dataset / LABELS if dataset.is_dir() else dataset
    if table.is_file() and table.suffix.lower() == ".csv":
        return _listed(table, split)
    if not dataset.is_dir():
        raise DatasetError(f"{dataset}: is neither a folder nor a CSV file; name one of them")
    if split is not None:
        raise DatasetError(f"{dataset}: has no {LABELS}, so there is no split {split!r}; leave --split out")
    return list_images(dataset)


def _listed(table: Path, split: str | None) -> list[Path]:
    rows = _rows(table)
    if "split" in rows[0]:
        wanted = split or DEFAULT_SPLIT
        known = sorted({row["split"] or "" for row in rows})
        rows = [row for row in rows if row["split"] == wanted]
        if not rows:
            raise DatasetError(f"{table}: no rows of split {wanted!r}; known: {', '.join(known)}")
    elif split is not None:
        raise DatasetError(f"{table}: has no column 'split'; leave --split out")
    return [table.parent / row["image"] for row in rows]


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: cannot be read as CSV: {error}") from error
    if not rows:
        raise DatasetError(f"{table}: holds no rows")
    if "image" not in rows[0]:
        raise DatasetError(f"{table}: has no column 'image'; its columns: {', '.join(rows[0])}")
    for number, row in enumerate(rows, start=2):
        if not row["image"]:
            raise DatasetError(f"{table}: line {number} names no image")
    return rows
