"""Reading labels.csv, ELPV's and MVTec's layouts, and dealing frames out to splits."""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inspect_compress import write_png
from inspect_compress.errors import DatasetError
from pipelines.datasets import Dataset, Item, read_dataset, read_mask, split_dataset

DATA = Path(os.environ.get("INSPECT_COMPRESS_DATA", Path(__file__).parents[2] / "../shared/data"))


def touch(*paths: Path) -> None:
    for path in paths:
        write_png(path, np.zeros((2, 2), np.uint8))


def write_csv(folder: Path, header: str, rows: Iterable[str]) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def items(good: int, defects: Sequence[str], split: str = "", groups: int = 0) -> list[Item]:
    names = [""] * good + list(defects)
    return [
        Item(Path(f"{split}{n}.png"), defect, None, split, f"lot {n % groups}" if groups else "")
        for n, defect in enumerate(names)
    ]


def split_counts(dataset: Dataset) -> Counter[tuple[str, bool]]:
    return Counter((item.split, item.is_defective) for item in dataset.items)


# Reading


def test_a_csv_is_read_with_columns_in_any_order(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "sub" / "b.png", tmp_path / "b-mask.png")
    path = write_csv(
        tmp_path,
        "split,group,mask,defect,image,remark",
        ["train,lot 1,,,a.png,fine", "test,lot 2,b-mask.png,scratch,sub/b.png,"],
    )

    for source in (path, tmp_path):
        dataset = read_dataset(source)

        assert dataset.root == tmp_path
        assert dataset.items == (
            Item(tmp_path / "a.png", "", None, "train", "lot 1"),
            Item(tmp_path / "sub/b.png", "scratch", tmp_path / "b-mask.png", "test", "lot 2"),
        )
        assert [item.is_defective for item in dataset.items] == [False, True]


def test_a_csv_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """With a byte order mark, spaces, capitals in the header, and empty cells left off."""
    touch(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "labels.csv").write_bytes("\ufeffImage, Defect,mask\r\na.png\r\nb.png, 傷 \r\n".encode())

    assert [item.defect for item in read_dataset(tmp_path).items] == ["", "傷"]


def test_images_may_lie_anywhere(tmp_path: Path) -> None:
    touch(tmp_path / "x.png", tmp_path / "elsewhere" / "y.png")
    (tmp_path / "labels").mkdir()
    write_csv(tmp_path / "labels", "image,defect", ["../x.png,", f"{tmp_path / 'elsewhere' / 'y.png'},pit"])

    assert all(item.image.is_file() for item in read_dataset(tmp_path / "labels").items)


def test_elpvs_own_header_is_read(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{n}.png" for n in range(4)))
    rows = [f"{n}.png,{p},mono,train" for n, p in enumerate((0.0, 0.3333333333333333, 0.6666666666666666, 1.0))]
    write_csv(tmp_path, "image,defect_probability,module_type,split", rows)

    assert [item.defect for item in read_dataset(tmp_path).items] == ["", "", "defective", "defective"]


def write_mvtec(root: Path) -> None:
    touch(root / "train/good/0.png", root / "test/good/0.png", root / "test/hole/0.png")
    touch(root / "ground_truth/hole/0_mask.png")


def test_mvtec_folders_of_one_category_are_read(tmp_path: Path) -> None:
    write_mvtec(tmp_path)

    assert read_dataset(tmp_path).items == (
        Item(tmp_path / "train/good/0.png", "", None, "train", ""),
        Item(tmp_path / "test/good/0.png", "", None, "test", ""),
        Item(tmp_path / "test/hole/0.png", "hole", tmp_path / "ground_truth/hole/0_mask.png", "test", ""),
    )


def test_mvtec_folders_of_several_categories_are_read(tmp_path: Path) -> None:
    write_mvtec(tmp_path / "cable")
    write_mvtec(tmp_path / "screw")

    assert {item.defect for item in read_dataset(tmp_path).items} == {"", "cable/hole", "screw/hole"}


def test_mvtec_folders_without_masks_are_read(tmp_path: Path) -> None:
    touch(tmp_path / "train/good/0.png", tmp_path / "test/hole/0.png")

    assert [item.mask for item in read_dataset(tmp_path).items] == [None, None]


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("image,defect", ["a.png,", "gone.png,", "lost.png,pit"], ("gone.png does not exist", "2 of 3")),
        ("image,defect,mask", ["a.png,pit,m.png"], ("mask", "m.png does not exist")),
        ("image,defect", [], ("lists no frames",)),
        ("picture,defect", ["a.png,"], ("no column image",)),
        ("image,label", ["a.png,1"], ("no column defect",)),
        ("image,defect", [",pit"], ("line 2", "image is empty")),
        ("image,defect,split", ["a.png,,val"], ("line 2", "'val'", "train, calibration, test")),
        ("image,defect", ["a.png,good"], ("line 2", "'good'", "leave it empty")),
        ("image,defect_probability", ["a.png,high"], ("line 2", "'high'", "0 to 1")),
        ("image,defect_probability", ["a.png,1.5"], ("line 2", "'1.5'")),
        ("image,defect_probability", ["a.png,nan"], ("line 2", "'nan'")),
        ("image,defect_probability", ["a.png,"], ("line 2", "''")),
        ("image,defect", ["a.png,", "./a.png,pit"], ("a.png", "more than once")),
    ],
)
def test_a_csv_that_is_wrong_is_explained_in_one_line(
    tmp_path: Path, header: str, rows: list[str], words: tuple[str, ...]
) -> None:
    touch(tmp_path / "a.png")
    write_csv(tmp_path, header, rows)

    with pytest.raises(DatasetError) as caught:
        read_dataset(tmp_path)

    message = str(caught.value)
    assert "labels.csv" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()

    with pytest.raises(DatasetError, match="lists no frames"):
        read_dataset(tmp_path)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("image,defect\na.png,傷\n".encode("cp932"))

    with pytest.raises(DatasetError, match="not UTF-8"):
        read_dataset(tmp_path)


def test_a_missing_mvtec_mask_is_named(tmp_path: Path) -> None:
    write_mvtec(tmp_path)
    (tmp_path / "ground_truth/hole/0_mask.png").rename(tmp_path / "ground_truth/hole/1_mask.png")

    with pytest.raises(DatasetError, match=r"0_mask\.png does not exist"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_that_is_no_dataset_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DatasetError, match=name):
        read_dataset(tmp_path / name)


def test_a_mask_is_true_where_the_defect_is(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:5] = 255
    write_png(tmp_path / "m.png", mask)
    item = Item(tmp_path / "a.png", "pit", tmp_path / "m.png", "", "")

    assert np.array_equal(read_mask(item, (4, 6, 3)), mask > 0)
    assert read_mask(replace(item, mask=None), (4, 6)) is None
    with pytest.raises(DatasetError, match=r"m\.png: the mask is 6x4 pixels, its image 8x4"):
        read_mask(item, (4, 8))


def test_a_mask_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"no image")

    with pytest.raises(DatasetError, match=r"m\.png: the mask cannot be read"):
        read_mask(Item(tmp_path / "a.png", "pit", tmp_path / "m.png", "", ""), (4, 6))


# Splitting


def test_frames_are_dealt_out_by_defect_and_in_proportion() -> None:
    dataset = Dataset(Path(), tuple(items(200, ["pit"] * 40 + ["crack"] * 20 + ["stain"] * 10)))

    split = split_dataset(dataset)

    per_class = Counter((item.defect, item.split) for item in split.items)
    for defect, total in {"": 200, "pit": 40, "crack": 20, "stain": 10}.items():
        for name, share in {"train": 0.5, "calibration": 0.2, "test": 0.3}.items():
            assert abs(per_class[defect, name] - share * total) <= 1


def test_the_seed_decides_the_splits() -> None:
    dataset = Dataset(Path(), tuple(items(60, ["pit"] * 30)))

    first, same, other = (split_dataset(dataset, seed=seed) for seed in (1, 1, 2))

    assert first == same
    assert first != other
    assert [replace(item, split="") for item in first.items] == list(dataset.items)


def test_a_group_stays_in_one_split() -> None:
    dataset = Dataset(Path(), tuple(items(160, ["pit"] * 60, groups=22)))

    split = split_dataset(dataset)

    splits_of: dict[str, set[str]] = {item.group: set() for item in split.items}
    for item in split.items:
        splits_of[item.group].add(item.split)
    assert all(len(names) == 1 for names in splits_of.values())
    counts = split_counts(split)
    assert abs(counts["test", True] - 18) <= 6
    assert abs(counts["train", False] - 80) <= 16


def test_given_splits_stay_as_they_are() -> None:
    given = items(20, ["pit"] * 10, "train") + items(10, [], "calibration") + items(8, ["pit"] * 8, "test")

    assert split_dataset(Dataset(Path(), tuple(given))).items == tuple(given)


def test_calibration_is_taken_from_train_where_it_is_missing() -> None:
    given = items(80, ["pit"] * 40, "train") + items(30, ["pit"] * 20, "test")

    counts = split_counts(split_dataset(Dataset(Path(), tuple(given))))

    assert (counts["train", False], counts["calibration", False]) == (60, 20)
    assert (counts["train", True], counts["calibration", True]) == (30, 10)
    assert (counts["test", False], counts["test", True]) == (30, 20)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (items(50, []), "all 50 frames are good"),
        (items(0, ["pit"] * 50), "all 50 frames are defective"),
        (items(60, ["pit"] * 4), "split test has . defective frames; at least 5 are needed"),
        (items(12, ["pit"] * 40), "split train has . good frames; at least 10 are needed"),
        (items(40, ["pit"] * 20, "train"), "no frame is in split test"),
        (items(40, ["pit"] * 20, "test"), "no frame is in split train"),
        (items(40, [], "train") + items(40, ["pit"] * 9), "49 of 89 frames have no split"),
    ],
)
def test_a_dataset_that_is_not_enough_is_explained(given: list[Item], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        split_dataset(Dataset(Path("parts"), tuple(given)))


@pytest.mark.parametrize(("name", "frames", "defective"), [("elpv", 2296, 725), ("magnetic_tile", 1176, 343)])
def test_real_datasets_are_read(name: str, frames: int, defective: int) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there; set INSPECT_COMPRESS_DATA to the folder of real images")
    with (DATA / name / "labels.csv").open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == frames

    dataset = split_dataset(read_dataset(DATA / name))

    assert len(dataset.items) == frames
    assert sum(item.is_defective for item in dataset.items) == defective
    assert {item.split for item in dataset.items} == {"train", "calibration", "test"}
