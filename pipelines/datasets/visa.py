"""VisA as it is published: `split_csv/1cls.csv`, or the folders of its objects, with `image_anno.csv`.

The copy that VisA's own script writes (`train/good`, `test/bad`) is a folder per class: see `class_folders`.
Layout: https://github.com/amazon-science/spot-diff (Zou et al., SPot-the-Difference, ECCV 2022).
"""

from pathlib import Path

from inspect_compress.errors import DatasetError
from pipelines.datasets.items import Dataset, Item, checked, folders_in, images_in
from pipelines.datasets.tables import Row, read_rows

SPLIT_FOLDER = "split_csv"
SPLIT_TABLE = f"{SPLIT_FOLDER}/1cls.csv"
"""Of its three tables the one in which all train frames are good."""
ANNOTATIONS = "image_anno.csv"

_COLUMNS = frozenset({"object", "split", "label", "image", "mask"})
_LABELS = ("normal", "anomaly")
_IMAGES = Path("Data/Images")
_MASKS = Path("Data/Masks/Anomaly")


def is_split_table(path: Path) -> bool:
    """Whether the file is one of VisA's tables of splits, by its header."""
    return path.parent.name == SPLIT_FOLDER and set(read_rows(path)[0].values) >= _COLUMNS


def is_objects(path: Path) -> bool:
    """Whether `path` is the folder of one of VisA's objects, or holds several."""
    return _is_object(path) or any(_is_object(folder) for folder in folders_in(path))


def read_split_table(path: Path) -> Dataset:
    """Read one of VisA's tables of splits; its paths are relative to the folder above its own. Raises DatasetError.

    Defects are called `object/label`, with the label of the object's `image_anno.csv` where that is there.
    """
    root = path.parent.parent
    rows = read_rows(path)
    labels = {obj: _labels(root / obj) for obj in sorted({row["object"] for row in rows})}
    return checked(root, (_split_item(root, row, labels[row["object"]]) for row in rows), path)


def read_objects(path: Path) -> Dataset:
    """Read the folder of one object, or of several; no splits are given then. Raises DatasetError."""
    if _is_object(path):
        return checked(path, _object_items(path, prefix=""), path)
    objects = [folder for folder in folders_in(path) if _is_object(folder)]
    return checked(path, (item for folder in objects for item in _object_items(folder, f"{folder.name}/")), path)


def _is_object(path: Path) -> bool:
    return (path / _IMAGES / "Normal").is_dir()


def _split_item(root: Path, row: Row, labels: dict[str, str]) -> Item:
    if row["label"] not in _LABELS or row["split"] not in ("train", "test") or not row["image"]:
        raise DatasetError(f"{row.where}: is not of VisA's form: object, train or test, normal or anomaly, image")
    image = root / row["image"]
    defect = f"{row['object']}/{labels.get(image.name, 'anomaly')}" if row["label"] == "anomaly" else ""
    return Item(image, defect, root / row["mask"] if row["mask"] else None, row["split"], "")


def _object_items(folder: Path, prefix: str) -> list[Item]:
    labels = _labels(folder)
    masked = (folder / _MASKS).is_dir()
    good = [Item(image, "", None, "", "") for image in images_in(folder / _IMAGES / "Normal")]
    defective = [
        Item(
            image=image,
            defect=prefix + labels.get(image.name, "anomaly"),
            mask=folder / _MASKS / f"{image.stem}.png" if masked else None,
            split="",
            group="",
        )
        for image in images_in(folder / _IMAGES / "Anomaly")
    ]
    return good + defective


def _labels(folder: Path) -> dict[str, str]:
    """What is wrong on each defective frame, by file name; empty where the object comes without annotations."""
    table = folder / ANNOTATIONS
    if not table.is_file():
        return {}
    rows = (row for row in read_rows(table) if row["label"] not in ("", "normal"))
    return {Path(row["image"]).name: row["label"] for row in rows}
