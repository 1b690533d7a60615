"""Telling the layouts of datasets apart, and handing each to its reader."""

from pathlib import Path

from inspect_compress.errors import DatasetError
from pipelines.datasets.class_folders import is_class_folders, read_class_folders
from pipelines.datasets.csv_labels import LABELS, read_csv
from pipelines.datasets.items import Dataset
from pipelines.datasets.visa import SPLIT_TABLE, is_objects, is_split_table, read_objects, read_split_table


def read_dataset(path: Path) -> Dataset:
    """Read a `labels.csv` or a folder that holds one, class folders, MVTec AD, or VisA: see docs/datasets.md.

    Paths in a CSV are relative to it; absolute ones and ones with `..` are allowed, as it is the user's own
    file. Every image and mask named is there when this returns. Raises DatasetError otherwise.
    """
    path = Path(path)
    if path.is_file():
        return read_split_table(path) if is_split_table(path) else read_csv(path)
    if not path.is_dir():
        raise DatasetError(f"{path}: there is no such file or folder")
    if (path / LABELS).is_file():
        return read_csv(path / LABELS)
    if (path / SPLIT_TABLE).is_file():
        return read_split_table(path / SPLIT_TABLE)
    if is_objects(path):
        return read_objects(path)
    if is_class_folders(path):
        return read_class_folders(path)
    raise DatasetError(
        f"{path}: holds no dataset that is known: neither a {LABELS}, nor class folders (good, <defect>, also below "
        f"train and test as in MVTec AD), nor VisA's {SPLIT_TABLE} or <object>/Data/Images"
    )
