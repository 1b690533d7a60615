"""What the sample frames promise: reproducible, consistently labelled, fairly split, and small."""

import csv
import importlib.util
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from inspect_compress.images import read_image

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"
MAX_BYTES = 20_000_000


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_data_generate", SAMPLE_DATA / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generate = _load_script()


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("frames") / "set"
    assert generate.main(["--out", str(out), "--per-product", "20", "--seed", "3"]) == 0
    return out


@pytest.fixture(scope="module", params=["committed", "fresh"])
def folder(request: pytest.FixtureRequest, small_set: Path) -> Path:
    return SAMPLE_DATA if request.param == "committed" else small_set


@pytest.mark.parametrize("product", generate.PRODUCTS)
def test_same_seed_gives_same_pixels_and_another_seed_does_not(product: str) -> None:
    frame = next(f for f in generate.plan(20, seed=3) if f.product == product and f.defect)

    first, second, other = (generate.draw(frame, seed) for seed in (3, 3, 4))

    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])


def test_a_frame_does_not_depend_on_the_frames_drawn_before_it(small_set: Path) -> None:
    frame = generate.plan(20, seed=3)[-1]

    assert np.array_equal(generate.draw(frame, 3)[0], read_image(small_set / generate.image_path(frame)))


def test_labels_name_exactly_the_files_that_are_there(folder: Path) -> None:
    rows = rows_of(folder)

    for column in ("image", "mask"):
        named = sorted(r[column] for r in rows if r[column])
        found = sorted(p.relative_to(folder).as_posix() for p in (folder / f"{column}s").rglob("*.png"))
        assert named == found


def test_header_is_the_agreed_one(folder: Path) -> None:
    assert (folder / "labels.csv").read_text().startswith("image,defect,mask,split,group\n")


def test_masks_belong_to_defective_frames_only_and_mark_something(folder: Path) -> None:
    for row in rows_of(folder):
        assert bool(row["mask"]) == bool(row["defect"])
        if row["mask"]:
            mask, image = read_image(folder / row["mask"]), read_image(folder / row["image"])
            assert mask.shape == image.shape[:2]
            assert set(np.unique(mask)) == {0, 255}
            assert (mask > 0).sum() < mask.size / 4


def test_no_lot_lies_in_two_splits(folder: Path) -> None:
    splits = defaultdict(set)
    for row in rows_of(folder):
        splits[row["group"]].add(row["split"])

    assert all(len(found) == 1 for found in splits.values())


def test_every_split_holds_good_and_defective_frames_of_every_product(folder: Path) -> None:
    found = {(r["split"], r["image"].split("/")[1], bool(r["defect"])) for r in rows_of(folder)}

    assert len(found) == len(generate.SPLITS) * len(generate.PRODUCTS) * 2


def test_mono_frames_are_mono_and_colour_frames_have_colour(folder: Path) -> None:
    for product in generate.PRODUCTS:
        image = read_image(next((folder / "images" / product).glob("*.png")))
        assert (image.ndim == 3) == (product in generate.COLOUR)


def test_committed_set_is_large_enough_for_a_pilot() -> None:
    rows = rows_of(SAMPLE_DATA)
    count = Counter((r["split"], bool(r["defect"])) for r in rows)
    per_kind = Counter(r["defect"] for r in rows if r["split"] == "test")

    assert len(rows) >= 240
    assert count["calibration", False] >= 20
    assert count["test", True] >= 40
    assert count["test", False] >= 60
    assert min(per_kind[kind] for kind in generate.DEFECTS) >= 8


def test_committed_set_is_small() -> None:
    files = [SAMPLE_DATA / "labels.csv"]
    files += [p for part in ("images", "masks") for p in (SAMPLE_DATA / part).rglob("*")]

    assert sum(p.stat().st_size for p in files if p.is_file()) <= MAX_BYTES


def test_committed_labels_are_what_the_recorded_seed_gives() -> None:
    frames = generate.plan(generate.PER_PRODUCT, generate.SEED)

    assert [(r["image"], r["defect"], r["split"], r["group"]) for r in rows_of(SAMPLE_DATA)] == [
        (generate.image_path(f), f.defect, f.split, f.group) for f in frames
    ]


def test_committed_frames_are_what_the_recorded_seed_gives() -> None:
    """Exact to the pixel: all is float64 and rounded once, so another machine's last bits do not show."""
    frames = generate.plan(generate.PER_PRODUCT, generate.SEED)

    for frame in frames[:: len(frames) // 12]:
        image, mask = generate.draw(frame, generate.SEED)
        assert np.array_equal(image, read_image(SAMPLE_DATA / generate.image_path(frame))), frame
        if frame.defect:
            assert np.array_equal(mask, read_image(SAMPLE_DATA / generate.mask_path(frame))), frame


def test_refuses_a_folder_that_holds_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious.txt").write_text("mine")

    code = generate.main(["--out", str(tmp_path), "--per-product", "20"])

    error = capsys.readouterr().err
    assert code == 1
    assert error.count("\n") == 1
    assert str(tmp_path) in error
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_refuses_to_overwrite_the_committed_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main([]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--per-product=0", "--per-product=3", "--per-product=many", "--seed=-1"])
def test_refuses_numbers_it_cannot_serve(option: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        generate.main(["--out", str(tmp_path / "new"), option])

    assert stopped.value.code == 2
    assert not (tmp_path / "new").exists()


def test_every_defect_can_be_drawn_on_every_surface() -> None:
    for product in generate.PRODUCTS:
        for defect in generate.DEFECTS:
            for number in range(1, 4):
                frame = generate.Planned(product, number, "train", 1, defect)
                assert generate.draw(frame, seed=11)[1].any(), frame
