"""The stages: iterators in, iterators out; in order, a few frames at a time, nothing lost without a word."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from inspect_compress.codecs import load_codec
from inspect_compress.errors import ConfigError, DamagedFileError
from inspect_compress.images import Image
from pipelines.archive import Archive
from pipelines.detectors import Labels, Scores
from pipelines.frame import Frame
from pipelines.sources import Failure
from pipelines.stages import MAX_WORKERS, compress, decode, detect, read_back, store, unstored


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

    keys = list(store(compress(unstored(given, archive, codec, quality=60), codec, quality=60), archive))
    returned = list(decode(read_back(keys, archive)))

    assert [key.frame_id for key in keys] == [frame.frame_id for frame in given]
    for before, after in zip(given, sorted(returned, key=lambda frame: frame.frame_id), strict=True):
        assert np.array_equal(before.pixels, after.pixels)
        assert replace(after, pixels=before.pixels) == before
    assert list(unstored(given, archive, codec, quality=60)) == []
    assert len(list(unstored(given, archive, codec, quality=61))) == 5


def test_records_carry_the_size_hash_and_measured_fidelity() -> None:
    (lossy,) = compress(frames(1, colour=True), load_codec("jpeg"), quality=90)
    (lossless,) = compress(frames(1), load_codec("png"), quality=90)

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

    records = compress(endless(), load_codec("png"), quality=60)
    next(records)

    assert taken <= MAX_WORKERS + 2
    records.close()  # type: ignore[attr-defined]


def test_a_frame_that_cannot_be_encoded_is_reported_and_the_others_go_on() -> None:
    bad = replace(frames(1)[0], pixels=np.zeros((3, 3), dtype=np.float32))  # type: ignore[arg-type]
    failures: list[Failure] = []

    given = [*frames(2), replace(bad, frame_id="bad"), *frames(1)]
    records = compress(given, load_codec("png"), quality=60, on_failure=failures.append)

    assert [record.frame_id for record in records] == ["0000", "0001", "0000"]
    assert [failure.frame_id for failure in failures] == ["bad"]


def test_damaged_missing_and_foreign_records_are_reported_each(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    records = list(compress(frames(3), load_codec("png"), quality=60))
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
    (record,) = compress(frames(1), load_codec("png"), quality=60)

    with pytest.raises(DamagedFileError):
        list(decode([replace(record, payload=b"nothing")]))


def test_a_score_at_the_threshold_is_defective() -> None:
    levels = (126, 127, 128)
    given = [
        replace(frame, pixels=np.full((4, 4), level, dtype=np.uint8))
        for frame, level in zip(frames(3), levels, strict=True)
    ]

    verdicts = list(detect(given, BrightnessDetector()))

    assert [verdict.defective for verdict in verdicts] == [False, True, True]
    assert [verdict.image for verdict in verdicts] == ["0.png", "1.png", "2.png"]
