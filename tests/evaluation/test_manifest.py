"""The manifest names every file of a run by its hash, comes back as it was, and finds files that changed."""

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.manifest import (
    Entry,
    FilesChecked,
    Manifest,
    check_files,
    make_manifest,
    read_manifest,
    write_manifest,
)
from inspect_compress import write_png
from inspect_compress.errors import DatasetError
from pipelines.datasets import Dataset, Item

SHA = "0" * 64


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A good test frame, and a defective train frame with a mask, out of the order of their names."""
    root = tmp_path / "parts"
    for number, name in enumerate(("b.png", "a, 傷.png", "masks/a.png")):
        write_png(root / name, np.full((4, 4), number, np.uint8))
    return Dataset(
        root,
        (
            Item(root / "b.png", "", None, "test", "lot 2"),
            Item(root / "a, 傷.png", "scratch", root / "masks/a.png", "train", "lot 1"),
        ),
    )


def test_every_file_stands_in_it_with_its_hash(dataset: Dataset, tmp_path: Path) -> None:
    write_manifest(make_manifest(dataset), tmp_path / "manifest.csv")

    with (tmp_path / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    sha = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in dataset.root.rglob("*.png")}
    assert rows == [
        {
            "path": "a, 傷.png",
            "sha256": sha["a, 傷.png"],
            "split": "train",
            "defect": "scratch",
            "group": "lot 1",
            "mask": "masks/a.png",
            "mask_sha256": sha["a.png"],
        },
        {
            "path": "b.png",
            "sha256": sha["b.png"],
            "split": "test",
            "defect": "",
            "group": "lot 2",
            "mask": "",
            "mask_sha256": "",
        },
    ]


def test_it_is_read_back_as_it_was_written(dataset: Dataset, tmp_path: Path) -> None:
    manifest = make_manifest(dataset)
    write_manifest(manifest, tmp_path / "manifest.csv")

    assert read_manifest(tmp_path / "manifest.csv") == manifest


def test_the_fingerprint_is_the_hash_of_the_file(dataset: Dataset, tmp_path: Path) -> None:
    manifest = make_manifest(dataset)
    write_manifest(manifest, tmp_path / "manifest.csv")

    assert manifest.fingerprint == hashlib.sha256((tmp_path / "manifest.csv").read_bytes()).hexdigest()


def test_the_fingerprint_knows_no_order_but_every_label(dataset: Dataset) -> None:
    fingerprint = make_manifest(dataset).fingerprint
    first, second = dataset.items

    assert make_manifest(replace(dataset, items=(second, first))).fingerprint == fingerprint
    for other in (replace(first, defect="pit"), replace(first, split="train"), replace(first, group="lot 9")):
        assert make_manifest(replace(dataset, items=(other, second))).fingerprint != fingerprint


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)


@given(path=TEXT, defect=TEXT, group=TEXT)
def test_any_name_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, path: str, defect: str, group: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    manifest = Manifest((Entry(path, SHA, "test", defect, group, "", ""),))
    write_manifest(manifest, file, overwrite=True)

    assert read_manifest(file) == manifest


def test_frames_outside_the_folder_are_named_by_their_whole_path(dataset: Dataset, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    write_png(elsewhere, np.zeros((4, 4), np.uint8))
    item = Item(elsewhere, "", None, "test", "")

    manifest = make_manifest(replace(dataset, items=(item,)))

    assert manifest.entries[0].path == elsewhere.as_posix()
    assert check_files(manifest, dataset.root) == FilesChecked(1, (), ())


def test_files_that_changed_or_are_gone_are_named(dataset: Dataset) -> None:
    manifest = make_manifest(dataset)
    assert check_files(manifest, dataset.root) == FilesChecked(3, (), ())

    write_png(dataset.root / "masks/a.png", np.full((4, 4), 9, np.uint8), overwrite=True)
    (dataset.root / "b.png").unlink()

    assert check_files(manifest, dataset.root) == FilesChecked(1, ("masks/a.png",), ("b.png",))


def test_a_dataset_that_moved_is_still_the_same(dataset: Dataset, tmp_path: Path) -> None:
    manifest = make_manifest(dataset)
    dataset.root.rename(tmp_path / "moved")

    assert check_files(manifest, tmp_path / "moved").same == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no manifest; its header must be path,sha256"),
        ("image,defect\na.png,\n", "is no manifest"),
        ("path,sha256,split,defect,group,mask,mask_sha256\n", "lists no frames"),
        (f"path,sha256,split,defect,group,mask,mask_sha256\na.png,{SHA},test\n", "line 2: has 3 values instead of 7"),
        ("path,sha256,split,defect,group,mask,mask_sha256\na.png,12,test,,,,\n", "line 2: lacks"),
        (f"path,sha256,split,defect,group,mask,mask_sha256\na.png,{SHA},,,,,\n", "line 2: lacks"),
        (f"path,sha256,split,defect,group,mask,mask_sha256\na.png,{SHA},test,,,m.png,\n", "line 2: lacks"),
    ],
)
def test_what_is_no_manifest_is_explained_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "manifest.csv").write_text(content)

    with pytest.raises(DatasetError, match=words) as caught:
        read_manifest(tmp_path / "manifest.csv")

    assert "manifest.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.csv: the manifest cannot be read"):
        read_manifest(tmp_path / "manifest.csv")
