"""Copies that two splits share are found, however they were saved; frames that only look alike are not reported."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import Generator, default_rng
from PIL import Image as PillowImage

from evaluation.leakage import Leakage, Pair, find_leakage, main
from evaluation.leakage_trial import ALTERATIONS, likeness_of_copies
from evaluation.signatures import most_alike, signature
from inspect_compress import read_image, write_png
from inspect_compress.errors import ImageError
from inspect_compress.images import Image
from pipelines.datasets import Dataset, Item, read_dataset, split_dataset

DATA = Path(os.environ.get("INSPECT_COMPRESS_DATA", Path(__file__).parents[2] / "../shared/data"))
SAMPLE = Path(__file__).parents[2] / "sample_data"
HEIGHT, WIDTH = 150, 180


def surface(rng: Generator) -> Image:
    """A texture of its own, smooth and fine, in the middle greys."""
    grain = sum(cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)), (0, 0), s) * s for s in (1.0, 2.0, 4.0, 8.0))
    return np.clip(128 + 12 * np.asarray(grain), 0, 255).astype(np.uint8)


def product(rng: Generator) -> Image:
    """A part with the same printed pattern as all others, faintly textured."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pattern = 40.0 * (np.hypot(y - 75, x - 90) < 50) + 25 * np.sin(x / 9) * np.sin(y / 7) * (np.abs(y - 75) < 60)
    return np.clip(90 + pattern + 0.2 * (surface(rng) - 128.0), 0, 255).astype(np.uint8)


def stored(root: Path, **splits: list[Image]) -> Dataset:
    """A dataset of good frames, saved as SPLIT/NUMBER.png."""
    items = []
    for split, images in splits.items():
        for number, image in enumerate(images):
            path = root / split / f"{number}.png"
            write_png(path, image)
            items.append(Item(path, "", None, split, ""))
    return Dataset(root, tuple(items))


def surfaces(count: int, seed: int) -> list[Image]:
    rng = default_rng(seed)
    return [surface(rng) for _ in range(count)]


# Exact


def test_a_copy_in_another_format_is_an_exact_one(tmp_path: Path) -> None:
    train, test = surfaces(3, 0), surfaces(3, 1)
    dataset = stored(tmp_path, train=train, test=test)
    copy = tmp_path / "test" / "copy.bmp"
    PillowImage.fromarray(train[1]).save(copy)

    leakage = find_leakage(Dataset(tmp_path, (*dataset.items, Item(copy, "", None, "test", ""))))

    assert leakage.exact == (Pair("train/1.png", "test/copy.bmp", "train", "test", 0),)
    assert leakage.near == ()
    assert leakage.leaked == ("test/copy.bmp",)


def test_a_copy_saved_as_colour_is_an_exact_one(tmp_path: Path) -> None:
    (image,) = surfaces(1, 0)

    leakage = find_leakage(stored(tmp_path, train=[image], test=[np.stack([image] * 3, axis=-1)]))

    assert len(leakage.exact) == 1


def test_deep_frames_are_compared_too(tmp_path: Path) -> None:
    images = [image.astype(np.uint16) * 16 for image in surfaces(3, 0)]

    leakage = find_leakage(stored(tmp_path, train=images[:2], test=[images[2], images[0]]))

    assert leakage.exact == (Pair("train/0.png", "test/1.png", "train", "test", 0),)
    assert leakage.near == ()


def test_copies_inside_a_split_are_duplicates_and_no_leak(tmp_path: Path) -> None:
    first, second = surfaces(2, 0)

    leakage = find_leakage(stored(tmp_path, train=[first, first, first], test=[second]))

    assert leakage.duplicates == (
        Pair("train/0.png", "train/1.png", "train", "train", 0),
        Pair("train/0.png", "train/2.png", "train", "train", 0),
    )
    assert leakage.exact == leakage.near == leakage.leaked == ()


def test_every_test_frame_with_a_copy_is_named_once(tmp_path: Path) -> None:
    """A camera that got stuck: many copies on both sides do not make a pair of each with each."""
    (stuck,) = surfaces(1, 0)

    leakage = find_leakage(stored(tmp_path, train=[stuck] * 5, calibration=[stuck], test=[stuck] * 4))

    assert leakage.leaked == tuple(f"test/{n}.png" for n in range(4))
    assert len(leakage.exact) == 1 + 4 + 4
    assert {pair.first for pair in leakage.exact} == {"train/0.png", "calibration/0.png"}


# Near


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_copy_is_a_near_one(tmp_path: Path, name: str) -> None:
    train, test = surfaces(4, 0), surfaces(4, 1)
    test[2] = ALTERATIONS[name](train[1])

    leakage = find_leakage(stored(tmp_path, train=train, test=test))

    assert [(pair.first, pair.second) for pair in leakage.near] == [("train/1.png", "test/2.png")]
    assert 0 <= leakage.near[0].distance <= 55
    assert leakage.exact == ()
    assert leakage.leaked == ("test/2.png",)


@pytest.mark.parametrize("frames", [30, 90])
@pytest.mark.parametrize("make", [surface, product])
def test_frames_that_only_look_alike_are_not_reported(
    tmp_path: Path, make: Callable[[Generator], Image], frames: int
) -> None:
    rng = default_rng(0)
    images = [make(rng) for _ in range(frames)]

    leakage = find_leakage(stored(tmp_path, train=images[::3], calibration=images[1::3], test=images[2::3]))

    assert leakage.near == leakage.exact == ()


def test_a_copy_is_found_among_frames_with_the_same_print(tmp_path: Path) -> None:
    rng = default_rng(0)
    images = [product(rng) for _ in range(80)]
    images[70] = ALTERATIONS["JPEG, quality 90"](images[7])

    leakage = find_leakage(stored(tmp_path, train=images[:40], calibration=images[40:60], test=images[60:]))

    assert [(pair.first, pair.second) for pair in leakage.near] == [("train/7.png", "test/10.png")]


def test_frames_without_any_detail_are_not_near_each_other(tmp_path: Path) -> None:
    flat = [np.full((40, 60), level, np.uint8) for level in range(100, 104)]
    tiny = [np.zeros((1, 1), np.uint8), np.ones((2, 1), np.uint8)]

    leakage = find_leakage(stored(tmp_path, train=[*flat[:2], tiny[0]], test=[*flat[2:], tiny[1]]))

    assert leakage.near == leakage.exact == ()


def test_a_frame_is_as_like_itself_as_can_be() -> None:
    signatures = np.stack([signature(image) for image in surfaces(5, 0)])

    likeness, which = most_alike(signatures, signatures, np.zeros((0, 2 * signatures.shape[1]), np.float32))

    assert np.allclose(likeness, 1, atol=1e-3)
    assert which.tolist() == [0, 1, 2, 3, 4]


# Groups and errors


def test_groups_that_the_given_splits_tear_apart_are_named(tmp_path: Path) -> None:
    dataset = stored(tmp_path, train=surfaces(3, 0), test=surfaces(3, 1))
    groups = ["lot 1", "lot 2", "", "lot 2", "lot 3", ""]
    items = (Item(i.image, "", None, i.split, group) for i, group in zip(dataset.items, groups, strict=True))

    assert find_leakage(Dataset(tmp_path, tuple(items))).groups == ("lot 2",)


def test_a_frame_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    dataset = stored(tmp_path, train=surfaces(1, 0), test=surfaces(1, 1))
    (tmp_path / "test/0.png").write_bytes(b"no image")

    with pytest.raises(ImageError, match=r"0\.png"):
        find_leakage(dataset)


def test_the_command_prints_what_leaked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, defective = surfaces(60, 0), surfaces(5, 1)
    good[55] = good[3]
    for number, image in enumerate(good):
        write_png(tmp_path / ("train" if number < 53 else "test") / "good" / f"{number}.png", image)
    for number, image in enumerate(defective):
        write_png(tmp_path / "test/pit" / f"{number}.png", image)

    assert main([str(tmp_path)]) == 0

    printed = capsys.readouterr().out
    assert "test frames with a copy in another split: 1 of 12" in printed
    assert re.search(r"^  0  (train|calibration) train/good/3\.png  test test/good/55\.png$", printed, re.M)


def test_the_command_explains_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1

    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {tmp_path}: holds no dataset that is known")
    assert printed.count("\n") == 1


# Real frames


def test_the_sample_data_leaks_nothing() -> None:
    leakage = find_leakage(split_dataset(read_dataset(SAMPLE)))

    assert leakage == Leakage((), (), (), leakage.method)


@pytest.mark.parametrize(
    ("folder", "first", "second"),
    [
        ("magnetic_tile", "exp5_num_86031.jpg", "exp5_num_85642.jpg"),  # one tile, twice
        ("magnetic_tile", "exp3_num_18185.jpg", "exp6_num_18258.jpg"),  # one tile, in two lights
        ("elpv", "cell1765.png", "cell2307.png"),  # one cell, pictured twice, once out of focus
    ],
)
def test_the_same_real_part_is_found_in_other_light_and_focus(folder: str, first: str, second: str) -> None:
    images = DATA / folder / "images"
    if not images.is_dir():
        pytest.skip(f"{images} is not there; set INSPECT_COMPRESS_DATA to the folder of real images")
    frames = [read_image(images / name) for name in (first, second)]

    (likeness,) = likeness_of_copies(frames[:1], {"the other": lambda frame: frames[1]}).values()

    assert likeness[0] >= 0.45
