"""Escapes and new false alarms: which frames they are, in which order, and what is shown of them."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PillowImage

from evaluation.crops import cut_crops
from evaluation.escapes import SHOWN_ESCAPES, SHOWN_FALSE_ALARMS, find_turned
from evaluation.pictures import take_changes, take_samples
from inspect_compress import load_codec, write_png
from pipelines.archive import Archive, ArchivedFrame

THRESHOLD = 10.0


def tables(scores: dict[str, tuple[str, float, dict[int, float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Originals and results of `new` and `old`, from defect, score before, and score per quality of each frame."""
    originals = pd.DataFrame(
        [(frame, defect, before, before >= THRESHOLD) for frame, (defect, before, _) in scores.items()],
        columns=["frame_id", "defect", "score_d", "flag_d"],
    )
    rows = [
        (frame, defect, codec, quality, 1.5, score if codec == "new" else 0.0, codec == "new" and score >= THRESHOLD)
        for codec in ("new", "old")
        for frame, (defect, _, after) in scores.items()
        for quality, score in after.items()
    ]
    columns = ["frame_id", "defect", "codec", "quality", "bpp", "score_d", "flag_d"]
    return originals, pd.DataFrame(rows, columns=columns)


def test_only_verdicts_that_were_right_and_turned_are_changes() -> None:
    originals, results = tables(
        {
            "kept": ("pit", 20, {90: 18, 10: 12}),
            "lost at the worst": ("pit", 20, {90: 18, 10: 4}),
            "missed before": ("pit", 5, {90: 5, 10: 5}),
            "found by compression": ("pit", 5, {90: 15, 10: 15}),
            "good": ("", 1, {90: 2, 10: 3}),
            "alarm": ("", 3, {90: 4, 10: 13}),
            "alarm before": ("", 13, {90: 13, 10: 13}),
        }
    )

    escapes, alarms = find_turned(originals, results, "d", THRESHOLD)

    assert [turned.frame_id for turned in escapes] == ["lost at the worst"]
    assert [turned.frame_id for turned in alarms] == ["alarm"]
    assert escapes[0].quality == 10
    assert escapes[0].codec == "new"
    assert escapes[0].score_after == ((90, 18.0), (10, 4.0))


def test_a_defect_lost_early_and_deeply_does_the_most_harm() -> None:
    originals, results = tables(
        {
            "late": ("pit", 20, {90: 18, 50: 15, 10: 2}),
            "early": ("pit", 20, {90: 9, 50: 4, 10: 2}),
            "just": ("pit", 20, {90: 18, 50: 15, 10: 9}),
            "a": ("", 0, {90: 0, 50: 0, 10: 0}),
            "b": ("", 4, {90: 4, 50: 4, 10: 4}),
        }
    )

    escapes, _ = find_turned(originals, results, "d", THRESHOLD)

    spread = np.std([0, 4], ddof=1)
    assert [(turned.frame_id, turned.quality) for turned in escapes] == [("early", 90), ("late", 10), ("just", 10)]
    assert [turned.harm for turned in escapes] == pytest.approx([15 / spread, 8 / spread, 1 / spread])


def test_scores_of_good_frames_without_any_spread_still_give_an_order() -> None:
    originals, results = tables({"lost": ("pit", 20, {10: 8}), "good": ("", 1, {10: 1})})

    escapes, _ = find_turned(originals, results, "d", THRESHOLD)

    assert escapes[0].harm == pytest.approx(2.0)


@pytest.fixture
def measured(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame, Archive]:
    """Frames of 200x160 pixels, more of them lost than are shown, in an archive of JPEG at two qualities."""
    scores = {f"lost-{n:02}": ("pit", 20.0 + n, {90: 9.0 - n / 100, 10: 1.0}) for n in range(SHOWN_ESCAPES + 2)}
    scores |= {f"alarm-{n:02}": ("", 1.0, {90: 2.0, 10: 12.0 + n}) for n in range(SHOWN_FALSE_ALARMS + 1)}
    originals, results = tables(scores)
    results = results[results["codec"] == "new"].assign(codec="jpeg")
    rng = np.random.default_rng(0)
    archive, codec = Archive(tmp_path / "archive"), load_codec("jpeg")
    records = []
    for number, frame_id in enumerate(scores):
        image = np.full((160, 200), 120, np.uint8)
        image[100:130, 150:180] = rng.integers(0, 255, (30, 30))
        write_png(tmp_path / f"{frame_id}.png", image)
        for quality in (90, 10):
            payload = codec.encode(image, quality=quality)
            at = datetime(2026, 1, 1, 0, 0, number % 60, tzinfo=UTC)
            records.append(ArchivedFrame(frame_id, at, "jpeg", "", quality, 200, 160, 1, payload, "0" * 64))
    archive.append(records)
    originals["image"] = [str(tmp_path / f"{frame_id}.png") for frame_id in scores]
    mask = np.zeros((160, 200), np.uint8)
    mask[20:30, 40:50] = 255
    write_png(tmp_path / "mask.png", mask)
    originals["mask"] = ["" if not defect else str(tmp_path / "mask.png") for defect in originals["defect"]]
    return originals, results, archive


def test_the_most_harmful_get_pictures_and_all_are_counted(
    measured: tuple[pd.DataFrame, pd.DataFrame, Archive],
) -> None:
    originals, results, archive = measured
    crops = cut_crops(originals, results, archive, "d", THRESHOLD)
    turned = find_turned(originals, results, "d", THRESHOLD)

    changes = take_changes(turned, results, crops, "d")

    assert (len(changes.escapes), changes.escapes_total) == (SHOWN_ESCAPES, SHOWN_ESCAPES + 2)
    assert (len(changes.false_alarms), changes.false_alarms_total) == (SHOWN_FALSE_ALARMS, SHOWN_FALSE_ALARMS + 1)
    assert changes.escapes[0].frame_id == f"lost-{SHOWN_ESCAPES + 1:02}"
    for change in (*changes.escapes, *changes.false_alarms):
        assert [crop.quality for crop in change.crops] == [quality for quality, _ in change.score_after] == [90, 10]
        assert len({opened(png).shape for png in (change.original, *(crop.png for crop in change.crops))}) == 1
        assert change.bits is None


def test_crops_are_cut_around_the_mask_or_where_compression_did_most(
    measured: tuple[pd.DataFrame, pd.DataFrame, Archive],
) -> None:
    originals, results, archive = measured
    crops = cut_crops(originals, results, archive, "d", THRESHOLD).set_index(["frame_id", "quality"])

    masked, other = crops.loc[("lost-05", 90)], crops.loc[("alarm-05", 10)]

    assert masked["left"] <= 40 < 50 <= masked["right"]
    assert masked["top"] <= 20 < 30 <= masked["bottom"]
    assert other["left"] <= 150 < 180 <= other["right"]
    record = next(r for r in archive.frames() if (r.frame_id, r.quality) == ("lost-05", 90))
    decoded = load_codec("jpeg").decode(record.payload)
    cut = decoded[masked["top"] : masked["bottom"], masked["left"] : masked["right"]]
    assert (opened(masked["png"]) == cut).all()


def test_samples_are_the_closest_calls_of_each_kind(measured: tuple[pd.DataFrame, pd.DataFrame, Archive]) -> None:
    originals, results, archive = measured
    crops = cut_crops(originals, results, archive, "d", THRESHOLD)

    samples = take_samples(originals, results, crops, "d", THRESHOLD)

    assert [(sample.frame_id, sample.found) for sample in samples] == [("lost-00", True)]
    assert [(crop.codec, crop.quality, crop.found) for crop in samples[0].crops] == [
        ("jpeg", 90, False),
        ("jpeg", 10, False),
    ]


def test_qarv_shows_where_the_bits_went(tmp_path: Path) -> None:
    image = np.full((96, 96), 128, np.uint8)
    image[56:72, 56:72] = np.random.default_rng(0).integers(0, 255, (16, 16))
    write_png(tmp_path / "a.png", image)
    originals, results = tables({"a": ("pit", 20, {50: 1}), "b": ("", 1, {50: 1})})
    originals["image"], originals["mask"] = str(tmp_path / "a.png"), ""
    results = results[results["codec"] == "new"].assign(codec="qarv")
    codec = load_codec("qarv")
    archive = Archive(tmp_path / "archive")
    payload, at = codec.encode(image, quality=50), datetime(2026, 1, 1, tzinfo=UTC)
    archive.append([ArchivedFrame("a", at, "qarv", codec.model, 50, 96, 96, 1, payload, "0" * 64)])

    crops = cut_crops(originals, results, archive, "d", THRESHOLD)
    change = take_changes(find_turned(originals, results, "d", THRESHOLD), results, crops, "d").escapes[0]

    assert change.bits is not None
    bright = opened(change.bits).astype(int).sum(axis=2)
    assert bright.shape == opened(change.original).shape
    assert bright[56:72, 56:72].mean() > bright[:40, :40].mean()


def opened(png: bytes) -> np.ndarray:
    """The pixels of a PNG file."""
    return np.asarray(PillowImage.open(io.BytesIO(png)))
