"""The stages: iterators in, iterators out; in order, a few frames at a time, nothing lost without a word."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from inspect_compress.codecs import Codec, load_codec
from inspect_compress.errors import ConfigError, DamagedFileError, DetectorError
from inspect_compress.guard import Floor
from inspect_compress.images import Image
from pipelines.archive import Archive
from pipelines.detectors import Labels, Scores
from pipelines.frame import Frame
from pipelines.policy import Policy, Request, Setting, choose
from pipelines.sources import Failure
from pipelines.stages import MAX_WORKERS, Guard, compress, decode, detect, read_back, store, unstored

GUARD = Guard(load_codec("png"))


def requests(given: Iterable[Frame], codec: Codec, quality: int) -> Iterator[Request]:
    return choose(given, Policy(Setting(codec, quality)))


def frames(count: int, *, colour: bool = False) -> list[Frame]:
    shape = (12, 16, 3) if colour else (12, 16)
    return [
        Frame(
            pixels=np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8),
            frame_id=f"{number:04}",
            captured_at=datetime(2025, 1, 2, tzinfo=UTC),
            line="line",
            meta={"path": f"{number}.png"},
        )
        for number in range(count)
    ]


class BrightnessDetector:
    """Calls dark images good: a detector of two lines."""

    threshold = 127.0
    needs_defects = False

    def fit(self, images: list[Image], labels: Labels, *, seed: int = 0) -> "BrightnessDetector":
        return self

    def score(self, images: list[Image]) -> Scores:
        return np.array([image.mean() for image in images])


def test_the_whole_chain_returns_the_frames_that_went_in(tmp_path: Path) -> None:
    archive, codec = Archive(tmp_path), load_codec("png")
    given = frames(3) + [replace(frame, frame_id="c" + frame.frame_id) for frame in frames(2, colour=True)]

    keys = list(store(compress(unstored(requests(given, codec, 60), archive), GUARD), archive))
    returned = list(decode(read_back(keys, archive)))

    assert [key.frame_id for key in keys] == [frame.frame_id for frame in given]
    for before, after in zip(given, sorted(returned, key=lambda frame: frame.frame_id), strict=True):
        assert np.array_equal(before.pixels, after.pixels)
        assert replace(after, pixels=before.pixels) == before
    assert list(unstored(requests(given, codec, 60), archive)) == []
    assert len(list(unstored(requests(given, codec, 61), archive))) == 5


def test_records_carry_the_size_hash_and_measured_fidelity() -> None:
    (lossy,) = compress(requests(frames(1, colour=True), load_codec("jpeg"), 90), GUARD)
    (lossless,) = compress(requests(frames(1), load_codec("png"), 90), None)

    assert (lossy.width, lossy.height, lossy.channels, lossy.bit_depth) == (16, 12, 3, 8)
    assert lossy.psnr is not None
    assert 10 < lossy.psnr < 60
    assert lossless.psnr == float("inf")
    assert len(lossless.pixels_sha256) == 64


def test_compression_looks_ahead_only_a_little() -> None:
    taken = 0

    def endless() -> Iterator[Frame]:
        nonlocal taken
        while True:
            taken += 1
            yield frames(1)[0]

    records = compress(requests(endless(), load_codec("png"), 60), GUARD)
    next(records)

    assert taken <= MAX_WORKERS + 2
    records.close()  # type: ignore[attr-defined]


def test_a_frame_that_cannot_be_encoded_is_reported_and_the_others_go_on() -> None:
    bad = replace(frames(1)[0], pixels=np.zeros((3, 3), dtype=np.float32))  # type: ignore[arg-type]
    failures: list[Failure] = []

    given = [*frames(2), replace(bad, frame_id="bad"), *frames(1)]
    records = compress(requests(given, load_codec("png"), 60), GUARD, on_failure=failures.append)

    assert [record.frame_id for record in records] == ["0000", "0001", "0000"]
    assert [failure.frame_id for failure in failures] == ["bad"]


def test_damaged_missing_and_foreign_records_are_reported_each(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    records = list(compress(requests(frames(3), load_codec("png"), 60), GUARD))
    cut = replace(records[1], payload=records[1].payload[:20])
    foreign = replace(records[2], codec="codec-of-tomorrow")
    deeper = replace(records[0], frame_id="deeper", bit_depth=12)
    archive.append([records[0], cut, foreign, deeper])
    failures: list[Failure] = []

    keys = [records[0].key, cut.key, foreign.key, deeper.key, records[0].key._replace(frame_id="gone")]
    back = read_back(keys, archive, on_failure=failures.append)
    decoded = list(decode(back, on_failure=failures.append))

    assert [frame.frame_id for frame in decoded] == ["0000"]
    errors = {failure.frame_id: failure.error for failure in failures}
    assert isinstance(errors["0001"], DamagedFileError)
    assert isinstance(errors["0002"], ConfigError)
    assert "gone" in str(errors["gone"])
    assert "decodes to uint8 samples; the archive says 12 bits" in str(errors["deeper"])


def test_a_failure_that_nobody_takes_care_of_is_raised() -> None:
    (record,) = compress(requests(frames(1), load_codec("png"), 60), GUARD)

    with pytest.raises(DamagedFileError):
        list(decode([replace(record, payload=b"nothing")]))


def test_what_the_guard_refuses_is_stored_otherwise_and_found_again(tmp_path: Path) -> None:
    archive, codec = Archive(tmp_path), load_codec("jpeg")
    demanding = Guard(load_codec("jxl"), Floor(min_psnr=90))
    given = [frames(1)[0], replace(frames(1)[0], pixels=frames(1)[0].pixels.astype(np.uint16) * 257, frame_id="deep")]

    (noise, deep) = compress(requests(given, codec, 95), demanding)

    assert (noise.key, noise.asked) == (("0000", "jxl", "", 100), ("0000", "jpeg", "", 95))
    assert (noise.psnr, deep.psnr) == (float("inf"), float("inf"))
    assert noise.fallback.count("below the floor of 90 dB") == 2
    assert noise.fallback.startswith("jpeg at quality 95: PSNR is ")
    assert "; jpeg at quality 100: PSNR is " in noise.fallback
    assert deep.fallback.startswith("jpeg at quality 95: image: has 16 bits per sample")
    assert np.array_equal(load_codec("jxl").decode(deep.payload), given[1].pixels)
    assert archive.append([noise, deep]) == 2
    assert list(unstored(requests(given, codec, 95), Archive(tmp_path))) == []
    assert len(list(unstored(requests(given, codec, 94), Archive(tmp_path)))) == 2


def test_a_frame_of_which_there_is_no_sound_encoding_is_never_stored() -> None:
    not_lossless = Guard(load_codec("jpeg"), Floor(min_psnr=90))
    failures: list[Failure] = []

    records = compress(requests(frames(2), load_codec("jpeg"), 90), not_lossless, on_failure=failures.append)

    assert list(records) == []
    assert [failure.image for failure in failures] == ["0.png", "1.png"]
    assert all("no encoding passed the check" in str(failure.error) for failure in failures)


def test_without_a_guard_a_floor_is_no_matter_and_a_refusal_is_a_failure() -> None:
    failures: list[Failure] = []
    deep = replace(frames(1)[0], pixels=np.full((4, 4), 999, np.uint16), frame_id="deep")

    (record,) = compress(requests([*frames(1), deep], load_codec("jpeg"), 1), None, on_failure=failures.append)

    assert (record.codec, record.quality, record.fallback, record.asked) == ("jpeg", 1, "", record.key)
    assert [(failure.frame_id, "10 bits" in str(failure.error)) for failure in failures] == [("deep", True)]


class NoSquares(BrightnessDetector):
    """Cannot score square images, each size in another way."""

    def score(self, images: list[Image]) -> Scores:
        if any(image.shape == (4, 4) for image in images):
            raise DetectorError("a square")
        if any(image.shape == (5, 5) for image in images):
            raise ValueError("five\nby five")
        return np.array([np.nan if image.shape == (6, 6) else image.mean() for image in images])


def test_a_frame_that_cannot_be_scored_is_reported_and_the_others_are_scored() -> None:
    squares = [
        replace(frames(1)[0], pixels=np.zeros((side, side), np.uint8), frame_id=f"square {side}", meta={})
        for side in (4, 5, 6)
    ]
    failures: list[Failure] = []

    verdicts = list(detect([*frames(20), *squares, *frames(2)], NoSquares(), on_failure=failures.append))

    assert len(verdicts) == 22
    assert {failure.image: str(failure.error) for failure in failures} == {
        "square 4": "a square",
        "square 5": "the detector cannot score this frame: ValueError: five by five",
        "square 6": "the detector's score is nan, not a finite number",
    }


def test_a_detector_that_forgets_a_frame_has_scored_none_of_its_batch() -> None:
    class Forgets(BrightnessDetector):
        def score(self, images: list[Image]) -> Scores:
            return super().score(images)[1:]

    failures: list[Failure] = []

    assert list(detect(frames(3), Forgets(), on_failure=failures.append)) == []
    assert [str(failure.error) for failure in failures] == ["the detector gave 2 scores for 3 frames"] * 3


def test_a_score_at_the_threshold_is_defective() -> None:
    levels = (126, 127, 128)
    given = [
        replace(frame, pixels=np.full((4, 4), level, dtype=np.uint8))
        for frame, level in zip(frames(3), levels, strict=True)
    ]

    verdicts = list(detect(given, BrightnessDetector()))

    assert [verdict.defective for verdict in verdicts] == [False, True, True]
    assert [verdict.image for verdict in verdicts] == ["0.png", "1.png", "2.png"]
