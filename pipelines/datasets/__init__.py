"""Labelled frames on disk, in the layouts that plants and public data sets use; and their splits.

Only paths and labels are held here. Images are read by whoever needs them.

    dataset = split_dataset(read_dataset(Path("sample_data")), seed=0)
    test = [item for item in dataset.items if item.split == "test"]
"""

from pipelines.datasets.csv_labels import LABELS
from pipelines.datasets.items import SPLITS, Dataset, Item
from pipelines.datasets.masks import read_mask
from pipelines.datasets.reading import read_dataset
from pipelines.datasets.splitting import split_dataset

__all__ = ["LABELS", "SPLITS", "Dataset", "Item", "read_dataset", "read_mask", "split_dataset"]
