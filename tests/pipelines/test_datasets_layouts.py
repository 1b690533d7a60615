"""Reading the layouts that are folders, and VisA's and ELPV's own tables."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from inspect_compress import write_png
from inspect_compress.errors import DatasetError
from pipelines.datasets import Dataset, Item, read_dataset, split_dataset


def touch(*paths: Path) -> None:
    for path in paths:
        write_png(path, np.zeros((2, 2), np.uint8))


def defects(dataset: Dataset) -> dict[str, str]:
    return {dataset.name_of(item.image): item.defect for item in dataset.items}


# Class folders


def test_a_folder_per_class_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "good/a.png", tmp_path / "scratch/a.png", tmp_path / "傷/b.png", tmp_path / ".trash/c.png")

    dataset = read_dataset(tmp_path)

    assert defects(dataset) == {"good/a.png": "", "scratch/a.png": "scratch", "傷/b.png": "傷"}
    assert {item.split for item in dataset.items} == {""}


@pytest.mark.parametrize("name", ["OK", "normal", "良品"])
def test_good_parts_may_be_called_by_another_usual_name(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name / "a.png", tmp_path / "NG" / "a.png")

    assert defects(read_dataset(tmp_path)) == {f"{name}/a.png": "", "NG/a.png": "NG"}


def test_class_folders_below_splits_keep_them(tmp_path: Path) -> None:
    """Defective train frames are read too, which MVTec AD does not have."""
    touch(*(tmp_path / s / c / "a.png" for s in ("train", "calibration", "test") for c in ("good", "pit")))

    dataset = read_dataset(tmp_path)

    assert Counter((item.split, item.defect) for item in dataset.items) == {
        (split, defect): 1 for split in ("train", "calibration", "test") for defect in ("", "pit")
    }


def test_class_folders_of_several_products_are_read(tmp_path: Path) -> None:
    touch(*(tmp_path / p / c / "a.png" for p in ("cap", "nut") for c in ("good", "pit")))

    assert set(defects(read_dataset(tmp_path)).values()) == {"", "cap/pit", "nut/pit"}


def test_masks_lie_in_ground_truth_under_either_name(tmp_path: Path) -> None:
    touch(tmp_path / "train/good/0.png", tmp_path / "test/bad/0.png", tmp_path / "test/bad/1.png")
    touch(tmp_path / "ground_truth/bad/0.png", tmp_path / "ground_truth/bad/1_mask.png")

    masks = [item.mask for item in read_dataset(tmp_path).items if item.is_defective]

    assert masks == [tmp_path / "ground_truth/bad/0.png", tmp_path / "ground_truth/bad/1_mask.png"]


def test_a_split_of_another_name_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "train/good/0.png", tmp_path / "val/good/0.png", tmp_path / "test/pit/0.png")

    with pytest.raises(DatasetError, match="val: is no split; call it train, calibration, test"):
        read_dataset(tmp_path)


def test_a_folder_of_good_frames_only_is_read_and_then_refused(tmp_path: Path) -> None:
    touch(*(tmp_path / "good" / f"{n}.png" for n in range(30)))

    with pytest.raises(DatasetError, match="all 30 frames are good; good and defective ones are needed"):
        split_dataset(read_dataset(tmp_path))


def test_folders_without_a_good_one_are_answered_with_what_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "scratch/a.png", tmp_path / "pit/a.png")

    with pytest.raises(DatasetError) as caught:
        read_dataset(tmp_path)

    assert "\n" not in str(caught.value)
    for layout in ("labels.csv", "good", "MVTec", "VisA"):
        assert layout in str(caught.value)


# VisA


def write_visa(root: Path, *, annotated: bool = True) -> None:
    for name in ("candle", "pcb1"):
        data = root / name / "Data"
        touch(data / "Images/Normal/0000.JPG", data / "Images/Normal/0001.JPG", data / "Images/Anomaly/000.JPG")
        touch(data / "Masks/Anomaly/000.png")
        if annotated:
            (root / name / "image_anno.csv").write_text(
                "image,label,mask\n"
                f"{name}/Data/Images/Normal/0000.JPG,normal,\n"
                f'{name}/Data/Images/Anomaly/000.JPG,"bent,melt",{name}/Data/Masks/Anomaly/000.png\n'
            )


def write_split_table(root: Path, *, rows: str = "") -> Path:
    path = root / "split_csv" / "1cls.csv"
    path.parent.mkdir()
    own = "".join(
        f"{name},train,normal,{name}/Data/Images/Normal/0000.JPG,\n"
        f"{name},test,normal,{name}/Data/Images/Normal/0001.JPG,\n"
        f"{name},test,anomaly,{name}/Data/Images/Anomaly/000.JPG,{name}/Data/Masks/Anomaly/000.png\n"
        for name in ("candle", "pcb1")
    )
    path.write_text("object,split,label,image,mask\n" + (rows or own))
    return path


@pytest.mark.parametrize("named", ["the folder", "the table"])
def test_visas_split_table_is_read(tmp_path: Path, named: str) -> None:
    write_visa(tmp_path)
    table = write_split_table(tmp_path)

    dataset = read_dataset(tmp_path if named == "the folder" else table)

    images = tmp_path / "candle/Data/Images"
    assert dataset.root == tmp_path
    assert dataset.items[:3] == (
        Item(images / "Normal/0000.JPG", "", None, "train", ""),
        Item(images / "Normal/0001.JPG", "", None, "test", ""),
        Item(
            images / "Anomaly/000.JPG", "candle/bent,melt", tmp_path / "candle/Data/Masks/Anomaly/000.png", "test", ""
        ),
    )
    assert len(dataset.items) == 6


def test_visas_folders_are_read_without_splits(tmp_path: Path) -> None:
    write_visa(tmp_path)

    every, one = read_dataset(tmp_path), read_dataset(tmp_path / "pcb1")

    assert [item.defect for item in every.items] == ["", "", "candle/bent,melt", "", "", "pcb1/bent,melt"]
    assert [item.defect for item in one.items] == ["", "", "bent,melt"]
    assert one.items[2].mask == tmp_path / "pcb1/Data/Masks/Anomaly/000.png"
    assert {item.split for item in every.items} == {""}


def test_visa_without_annotations_has_one_kind_of_defect(tmp_path: Path) -> None:
    write_visa(tmp_path, annotated=False)

    assert {item.defect for item in read_dataset(tmp_path).items} == {"", "candle/anomaly", "pcb1/anomaly"}


def test_a_visa_table_that_is_wrong_names_the_line(tmp_path: Path) -> None:
    write_visa(tmp_path)
    write_split_table(tmp_path, rows="candle,train,fine,candle/Data/Images/Normal/0000.JPG,\n")

    with pytest.raises(DatasetError, match=r"1cls\.csv, line 2: is not of VisA's form"):
        read_dataset(tmp_path)


def test_objects_that_are_missing_are_counted(tmp_path: Path) -> None:
    write_visa(tmp_path)
    write_split_table(tmp_path)
    (tmp_path / "pcb1").rename(tmp_path / "elsewhere")

    with pytest.raises(DatasetError, match=r"1cls\.csv: image .*0000\.JPG does not exist \(3 of 6 are missing\)"):
        read_dataset(tmp_path)


# ELPV


def test_elpvs_list_is_read_as_it_is_published(tmp_path: Path) -> None:
    touch(tmp_path / "images/cell0001.png", tmp_path / "images/cell0002.png")
    (tmp_path / "labels.csv").write_text(
        "images/cell0001.png        1.0             mono\nimages/cell0002.png  0.3333333333333333 poly\n"
    )

    assert defects(read_dataset(tmp_path)) == {"images/cell0001.png": "defective", "images/cell0002.png": ""}


def test_a_line_of_elpvs_list_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("images/cell0001.png 1.0 mono\nimages/cell0002.png high poly\n")

    with pytest.raises(DatasetError, match=r"labels\.csv, line 2: is not of ELPV's form"):
        read_dataset(tmp_path)
