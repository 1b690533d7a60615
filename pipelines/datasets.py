"""Labelled frames on disk: `labels.csv`, ELPV's own `labels.csv`, and MVTec AD folders; and their splits.

Only paths and labels are held here. Images are read by whoever needs them.

    dataset = split_dataset(read_dataset(Path("sample_data")), seed=0)
    test = [item for item in dataset.items if item.split == "test"]
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from inspect_compress.errors import DatasetError
from inspect_compress.images import SUFFIXES

LABELS = "labels.csv"
SPLITS = ("train", "calibration", "test")

SHARES = {"train": 0.5, "calibration": 0.2, "test": 0.3}
"""How frames are dealt out where no split is given."""
CALIBRATION_SHARE = 0.25
"""How much of a given train split becomes the calibration split where none is given."""

MIN_GOOD = {"train": 10, "calibration": 10, "test": 5}
MIN_DEFECTIVE = {"train": 0, "calibration": 0, "test": 5}
"""Fewest frames per split with which a run goes ahead. They keep out nonsense; they do not promise proof."""

DEFECTIVE_PROBABILITY = 0.5
"""ELPV: a cell is defective from this probability on (the usual reading of its labels)."""

_GOOD_WORDS = frozenset({"good", "ok", "normal", "none", "nan", "良品"})


@dataclass(frozen=True)
class Item:
    """One labelled frame. `defect` is empty for a good part; `split` and `group` are empty if not given.

    Frames of one `group` (a lot, a panel) belong to the same part or batch and stay in one split.
    """

    image: Path
    defect: str
    mask: Path | None
    split: str
    group: str

    @property
    def is_defective(self) -> bool:
        """Whether the part is defective."""
        return bool(self.defect)


@dataclass(frozen=True)
class Dataset:
    """Labelled frames and the folder that their paths are relative to."""

    root: Path
    items: tuple[Item, ...]


def read_dataset(path: Path) -> Dataset:
    """Read a `labels.csv`, a folder that holds one, or MVTec AD folders (one category or several).

    Paths in a CSV are relative to it; absolute ones and ones with `..` are allowed, as it is the user's own
    file. Every image and mask named is there when this returns. Raises DatasetError otherwise.
    """
    path = Path(path)
    if path.is_file():
        return _read_csv(path)
    if not path.is_dir():
        raise DatasetError(f"{path}: there is no such file or folder")
    if (path / LABELS).is_file():
        return _read_csv(path / LABELS)
    if (path / "train" / "good").is_dir():
        return _checked(path, _read_mvtec(path, prefix=""), path)
    categories = sorted(p.parent.parent for p in path.glob("*/train/good") if p.is_dir())
    if categories:
        items = (item for c in categories for item in _read_mvtec(c, prefix=f"{c.name}/"))
        return _checked(path, items, path)
    raise DatasetError(
        f"{path}: holds neither a {LABELS} nor MVTec-style folders (train/good, test/good, test/<defect>)"
    )


def read_mask(item: Item, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Where the defect is: bool `(H, W)`, true where the mask is not black; None where there is no mask.

    `shape` is that of the image. Raises DatasetError where the mask cannot be read, or is of another size.
    """
    if item.mask is None:
        return None
    try:
        with PillowImage.open(item.mask) as file:
            mask = np.asarray(file.convert("L")) > 0
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise DatasetError(f"{item.mask}: the mask cannot be read: {error}") from error
    if mask.shape != shape[:2]:
        sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels, its image {shape[1]}x{shape[0]}"
        raise DatasetError(f"{item.mask}: the mask is {sizes}; they must be alike")
    return mask


def split_dataset(dataset: Dataset, *, seed: int = 0) -> Dataset:
    """Return the dataset with a split for each frame, fit to train, calibrate and test a detector.

    Splits that are given stay. Where train and test are given, part of train becomes calibration; where
    nothing is given, all frames are dealt out, stratified by defect and with each group in one split. The
    same dataset and seed give the same splits. Raises DatasetError where a class is
    missing or a split holds too few frames.
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


# Reading


def _read_csv(path: Path) -> Dataset:
    rows = _csv_rows(path)
    columns = set(rows[0][1])
    if "image" not in columns or not columns & {"defect", "defect_probability"}:
        missing = "image" if "image" not in columns else "defect (or defect_probability)"
        raise DatasetError(f"{path}: has no column {missing}; the header is image,defect[,mask][,split][,group]")
    items = (_csv_item(path, number, row) for number, row in rows)
    return _checked(path.parent, items, path)


def _csv_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line numbers, header names in lower case, values stripped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = [(reader.line_num, {k: v.strip() for k, v in row.items() if k}) for row in reader]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text; save it as CSV UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise DatasetError(f"{path}: lists no frames")
    return rows


def _csv_item(path: Path, number: int, row: Mapping[str, str]) -> Item:
    where = f"{path}, line {number}"
    if not row["image"]:
        raise DatasetError(f"{where}: image is empty")
    split = row.get("split", "")
    if split not in ("", *SPLITS):
        raise DatasetError(f"{where}: split is {split!r}; it must be train, calibration, test or empty")
    mask = row.get("mask", "")
    return Item(
        image=path.parent / row["image"],
        defect=_defect(where, row),
        mask=path.parent / mask if mask else None,
        split=split,
        group=row.get("group", ""),
    )


def _defect(where: str, row: Mapping[str, str]) -> str:
    if "defect" in row:
        if row["defect"].lower() in _GOOD_WORDS:
            raise DatasetError(f"{where}: defect is {row['defect']!r}; leave it empty for a good part")
        return row["defect"]
    text = row["defect_probability"]
    try:
        probability = float(text)
    except ValueError:
        probability = float("nan")
    if not 0 <= probability <= 1:
        raise DatasetError(f"{where}: defect_probability is {text!r}; it must be a number from 0 to 1")
    return "defective" if probability >= DEFECTIVE_PROBABILITY else ""


def _read_mvtec(root: Path, *, prefix: str) -> list[Item]:
    """The frames of one MVTec AD category; `prefix` goes before the names of its defects."""
    items = [Item(image, "", None, "train", "") for image in _images_in(root / "train" / "good")]
    test = root / "test"
    for folder in sorted(p for p in test.iterdir() if p.is_dir()) if test.is_dir() else ():
        good = folder.name == "good"
        masks = root / "ground_truth" / folder.name
        for image in _images_in(folder):
            mask = masks / f"{image.stem}_mask.png" if masks.is_dir() and not good else None
            items.append(Item(image, "" if good else f"{prefix}{folder.name}", mask, "test", ""))
    return items


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def _checked(root: Path, items: Iterable[Item], source: Path) -> Dataset:
    """The dataset, once every file is there and none is listed twice; `source` is named in errors."""
    dataset = Dataset(root, tuple(items))
    if not dataset.items:
        raise DatasetError(f"{source}: lists no frames")
    _refuse_missing(source, "image", [item.image for item in dataset.items])
    _refuse_missing(source, "mask", [item.mask for item in dataset.items if item.mask])
    counts = Counter(item.image.resolve() for item in dataset.items)
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise DatasetError(f"{source}: image {twice[0]}{more} is listed more than once")
    return dataset


def _refuse_missing(source: Path, kind: str, paths: Sequence[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{source}: {kind} {missing[0]} does not exist ({len(missing)} of {len(paths)} are missing)"
        )


# Splitting


def _check_two_classes(dataset: Dataset) -> None:
    defective = sum(item.is_defective for item in dataset.items)
    if defective in (0, len(dataset.items)):
        kind = "good" if not defective else "defective"
        raise DatasetError(
            f"{dataset.root}: all {len(dataset.items)} frames are {kind}; good and defective ones are needed"
        )


def _check_sizes(dataset: Dataset) -> None:
    for split in SPLITS:
        for defective, minimum in ((True, MIN_DEFECTIVE[split]), (False, MIN_GOOD[split])):
            found = sum(item.split == split and item.is_defective == defective for item in dataset.items)
            if found < minimum:
                kind = "defective" if defective else "good"
                raise DatasetError(
                    f"{dataset.root}: split {split} has {found} {kind} frames; at least {minimum} are needed"
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
