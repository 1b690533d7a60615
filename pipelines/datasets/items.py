"""What a dataset is here: labelled frames as paths, with defect, mask, split and group.

No pixel is read and no layout of folders is known here; the readers beside this module make datasets.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inspect_compress.errors import DatasetError
from inspect_compress.images import SUFFIXES

SPLITS = ("train", "calibration", "test")

GOOD_NAMES = frozenset({"good", "ok", "normal", "良品"})
"""What folders of good parts are called, in lower case."""


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

    def name_of(self, file: Path) -> str:
        """The path of an image or mask below `root`, with `/`; its whole path where it lies elsewhere."""
        return (file.relative_to(self.root) if file.is_relative_to(self.root) else file).as_posix()


def checked(root: Path, items: Iterable[Item], source: Path) -> Dataset:
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


def images_in(folder: Path) -> list[Path]:
    """The image files that lie in `folder` itself, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def folders_in(folder: Path) -> list[Path]:
    """The folders that lie in `folder` itself, sorted, without hidden ones; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _refuse_missing(source: Path, kind: str, paths: Sequence[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{source}: {kind} {missing[0]} does not exist ({len(missing)} of {len(paths)} are missing)"
        )
