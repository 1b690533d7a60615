"""A folder per class, `good/` and one per defect, by themselves or below `train/` and `test/`; MVTec AD is one.

Masks are those of MVTec AD, in `ground_truth/`. The layouts, with what they mean, are drawn in docs/datasets.md.
"""

from pathlib import Path

from inspect_compress.errors import DatasetError
from pipelines.datasets.items import GOOD_NAMES, SPLITS, Dataset, Item, checked, folders_in, images_in

MASKS = "ground_truth"


def is_class_folders(path: Path) -> bool:
    """Whether `path` holds class folders, of one product or of several (each in a folder of its own)."""
    return _is_product(path) or any(_is_product(folder) for folder in folders_in(path))


def read_class_folders(path: Path) -> Dataset:
    """Read class folders. Of several products, defects are called `product/defect`. Raises DatasetError."""
    if _is_product(path):
        return checked(path, _product(path, prefix=""), path)
    products = [folder for folder in folders_in(path) if _is_product(folder)]
    items = (item for product in products for item in _product(product, prefix=f"{product.name}/"))
    return checked(path, items, path)


def _is_product(path: Path) -> bool:
    return any(_is_good(folder) for parent in (path, path / "train") for folder in folders_in(parent))


def _is_good(folder: Path) -> bool:
    return folder.name.lower() in GOOD_NAMES and bool(images_in(folder))


def _product(root: Path, *, prefix: str) -> list[Item]:
    """The frames of one product; `prefix` goes before the names of its defects."""
    if any(_is_good(folder) for folder in folders_in(root)):
        return _classes(root, root, split="", prefix=prefix)
    for folder in folders_in(root):
        if folder.name not in (*SPLITS, MASKS) and folders_in(folder):
            raise DatasetError(f"{folder}: is no split; call it {', '.join(SPLITS)}, or move it elsewhere")
    return [item for split in SPLITS for item in _classes(root, root / split, split=split, prefix=prefix)]


def _classes(root: Path, parent: Path, *, split: str, prefix: str) -> list[Item]:
    items = []
    for folder in folders_in(parent):
        if folder.name == MASKS:
            continue
        good = folder.name.lower() in GOOD_NAMES
        masked = not good and split != "train" and (root / MASKS / folder.name).is_dir()
        for image in images_in(folder):
            mask = _mask(root / MASKS / folder.name, image) if masked else None
            items.append(Item(image, "" if good else f"{prefix}{folder.name}", mask, split, ""))
    return items


def _mask(folder: Path, image: Path) -> Path:
    """`NAME_mask.png` as in MVTec AD; `NAME.png`, as VisA's own script writes it, if that is there."""
    plain = folder / f"{image.stem}.png"
    return plain if plain.is_file() else folder / f"{image.stem}_mask.png"
