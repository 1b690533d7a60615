"""Frames that show the same picture become a group, and a run on the new table leaks no more."""

from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from evaluation.leakage import find_leakage
from evaluation.regroup import main, regroup
from inspect_compress import write_png
from inspect_compress.images import Image
from pipelines.datasets import Dataset, Item, read_dataset, split_dataset

PARTS, VIEWS = 30, 3


def views(number: int) -> list[Image]:
    """One part in three lights."""
    grain = default_rng(number).normal(0, 1, (140, 160))
    part = 128 + 60 * cv2.GaussianBlur(grain, (0, 0), 1.5) + 90 * cv2.GaussianBlur(grain, (0, 0), 5)
    light = np.linspace(0.8, 1.2, 160)
    return [np.clip(part * gain, 0, 255).astype(np.uint8) for gain in (1.0, light, light[::-1] * 0.9)]


@pytest.fixture
def parts(tmp_path: Path) -> Dataset:
    """30 parts, each pictured three times; a third are defective; splits that tear the views apart."""
    items = []
    for number in range(PARTS):
        for view, image in enumerate(views(number)):
            path = tmp_path / f"{number:02d}-{view}.png"
            write_png(path, image)
            split = ("train", "calibration", "test")[view]
            items.append(Item(path, "pit" if number % 3 == 0 else "", None, split, ""))
    return Dataset(tmp_path, tuple(items))


def parts_of_groups(dataset: Dataset) -> list[set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for item in dataset.items:
        found[item.group].add(item.image.name)
    return list(found.values())


def test_the_views_of_a_part_become_a_group(parts: Dataset) -> None:
    regrouped = regroup(parts)

    expected = [{f"{number:02d}-{view}.png" for view in range(VIEWS)} for number in range(PARTS)]
    assert parts_of_groups(regrouped) == expected
    assert {item.split for item in regrouped.items} == {""}
    assert len(find_leakage(parts).leaked) == PARTS
    assert find_leakage(split_dataset(regrouped)).leaked == ()


def test_groups_that_were_known_are_kept_and_joined(tmp_path: Path) -> None:
    """Lot 1 and lot 2 share a picture, so they are one group; lot 3 and the frame of no group stay by themselves."""
    images = [views(0)[0], views(1)[0], views(0)[1], views(2)[0], views(3)[0], views(4)[0]]
    items = []
    for number, (image, lot) in enumerate(zip(images, ["1", "1", "2", "2", "3", ""], strict=True)):
        write_png(tmp_path / f"{number}.png", image)
        items.append(Item(tmp_path / f"{number}.png", "", None, "", lot))

    first, second, third, fourth, fifth, last = (i.group for i in regroup(Dataset(tmp_path, tuple(items))).items)

    assert first == second == third == fourth
    assert (fifth, last) == ("3", "")


def test_copies_without_any_detail_are_joined_too(tmp_path: Path) -> None:
    for number in range(2):
        write_png(tmp_path / f"{number}.png", np.full((50, 50), 7, np.uint8))
    items = tuple(Item(tmp_path / f"{number}.png", "", None, "", "") for number in range(2))

    first, second = regroup(Dataset(tmp_path, items)).items

    assert first.group == second.group != ""


def test_the_command_writes_a_table_that_a_run_reads(
    parts: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "labels.csv"
    rows = [f"{item.image.name},{item.defect},{item.image.name if item.defect else ''}" for item in parts.items]
    source.write_text("\n".join(["image,defect,mask", *rows]))
    table = tmp_path / "elsewhere" / "labels.csv"

    assert main([str(source), str(table)]) == 0

    assert f"{len(parts.items)} frames, {len(parts.items)} of them in {PARTS} groups" in capsys.readouterr().out
    regrouped = read_dataset(table)
    assert [(item.image, item.defect) for item in regrouped.items] == [(i.image, i.defect) for i in parts.items]
    assert regrouped.items[0].mask == parts.items[0].image
    assert len(parts_of_groups(regrouped)) == PARTS


def test_a_table_that_exists_is_left_alone(
    parts: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "labels.csv"
    source.write_text("\n".join(["image,defect", *(f"{item.image.name},{item.defect}" for item in parts.items)]))

    assert main([str(source), str(source)]) == 1

    assert "exists already" in capsys.readouterr().err
