"""Drift on frames that really change, and silence on those that do not."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from inspect_compress import load_codec, read_image, write_png
from inspect_compress.cli import main
from inspect_compress.errors import ConfigError
from inspect_compress.images import Image
from pipelines.config import read_config
from pipelines.drift.observer import Drift, watched_for_drift
from pipelines.drift.settings import DriftConfig
from pipelines.flow.events import Alarm, Event, Finished, Judged, Stored
from pipelines.frame import Frame
from pipelines.policy import Request
from pipelines.stages import encode

CAST = sorted((Path(__file__).parents[2] / "sample_data" / "images" / "cast").glob("*.png"))
SETTINGS = DriftConfig(baseline=50, window=20)
FINISHED = Finished(0, 0, 0, 0, 0, 0, 0)


class Line:
    """Frames through the real encoding stage to a `Drift`, which keeps its state in `folder`."""

    def __init__(self, folder: Path, settings: DriftConfig = SETTINGS) -> None:
        self.alarms: list[Alarm] = []
        self._drift = Drift(settings, self._note, {}, folder / "drift.json")
        self._codec = load_codec("jpeg")

    def store(self, images: Sequence[Image], quality: int = 80) -> None:
        for number, image in enumerate(images):
            row = encode(Request(Frame(image, f"{number}", datetime.now(UTC)), self._codec, quality), None)
            self._drift(
                Stored(
                    row.frame_id, row.frame_id, row.codec, row.model, row.quality, row.psnr, row.width, row.height,
                    row.channels, len(row.payload), row.rule, row.fallback, row.captured_at,
                )
            )  # fmt: skip

    def judge(self, scores: Sequence[float]) -> None:
        for score in scores:
            self._drift(Judged("f", "f.png", float(score), 0.5, score >= 0.5, "anomaly"))

    def end(self) -> None:
        self._drift(FINISHED)

    def _note(self, event: Event) -> None:
        assert isinstance(event, Alarm)
        self.alarms.append(event)

    @property
    def kinds(self) -> list[str]:
        return sorted(alarm.kind for alarm in self.alarms)


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    """Ninety frames of one product, in an order that mixes their lots."""
    order = np.random.default_rng(0).permutation(len(CAST))
    return [read_image(CAST[number]) for number in order]


def darker(image: Image) -> Image:
    return (image * 0.6).astype(np.uint8)


def defocused(image: Image) -> Image:
    return cv2.GaussianBlur(image, (0, 0), 1.5)


@pytest.mark.parametrize("change", [darker, defocused])
def test_darker_and_defocused_frames_raise_alarms_that_say_what_departed(
    frames: list[Image], change: object, tmp_path: Path
) -> None:
    line = Line(tmp_path)
    line.store(frames)
    assert line.alarms == []

    line.store([change(image) for image in frames[:20]])  # type: ignore[operator]

    assert line.kinds == ["bpp", "fidelity"]
    bpp, fidelity = sorted(line.alarms, key=lambda alarm: alarm.kind)
    assert bpp.value < bpp.expected
    assert fidelity.value > fidelity.expected
    assert "bpp of jpeg at quality 80: the last 20 frames have a median of" in bpp.message


def test_a_drift_is_told_once_and_again_after_it_was_gone(frames: list[Image], tmp_path: Path) -> None:
    line, dark = Line(tmp_path), [darker(image) for image in frames[:20]]
    line.store([*frames[:50], *dark, *dark])
    assert line.kinds == ["bpp", "fidelity"]
    line.store([*frames[50:70], *dark])
    assert len(line.alarms) == 4


def test_another_quality_is_no_drift(frames: list[Image], tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.store(frames[:50], quality=80)
    line.store(frames[:60], quality=30)
    assert line.alarms == []


def test_what_was_learned_outlives_the_run_so_that_drift_while_it_stood_is_seen(
    frames: list[Image], tmp_path: Path
) -> None:
    first = Line(tmp_path)
    first.store(frames[:62])  # 12 of a window of 20
    first.end()

    second = Line(tmp_path)
    second.store([darker(image) for image in frames[:28]])

    assert second.kinds == ["bpp", "fidelity"]
    (tmp_path / "drift.json").write_text('{"watches": [{}]}')
    assert "is not what drift left there" in Line(tmp_path).alarms[0].message


def test_scores_that_shift_raise_an_alarm_of_their_own(tmp_path: Path) -> None:
    rng, line = np.random.default_rng(3), Line(tmp_path)
    line.judge([*rng.normal(0.2, 0.05, 130), np.nan, np.inf])
    assert line.alarms == []
    line.judge(rng.normal(0.5, 0.05, 20))
    assert line.kinds == ["scores"]
    assert "scores of anomaly" in line.alarms[0].message


def test_false_alarms_are_as_rare_as_stated(frames: list[Image], tmp_path: Path) -> None:
    """Windows drawn from the real frames' bpp and PSNR, and scores: at 5 %, between 2 % and 7 % of 1,000 windows."""
    pool = []
    codec = load_codec("jpeg")
    for image in frames:
        row = encode(Request(Frame(image, "f", datetime.now(UTC)), codec, 80), None)
        pool.append((len(row.payload), row.psnr))
    rng = np.random.default_rng(11)
    settings = DriftConfig(baseline=200, window=50, false_alarm_rate=0.05)
    windows = alarmed = 0
    for line in range(50):
        alarms: list[Event] = []
        drift = Drift(settings, alarms.append, {}, tmp_path / f"{line}.json")
        for end in (200, *([50] * 20)):
            before = len(alarms)
            for size, decibels in (pool[number] for number in rng.integers(len(pool), size=end)):
                grain = rng.normal(0, 30)  # a pool of 90 frames has ties; a line's frames have none
                drift(
                    Stored("f", "f", "jpeg", "", 80, decibels + grain / 1000, 224, 192, 1, int(size + grain), "", "",
                           datetime.now(UTC))
                )  # fmt: skip
                drift(Judged("f", "f", rng.normal(), 9, False, "anomaly"))
            if end == 50:
                windows += 1
                alarmed += len(alarms) > before
    assert windows == 1000
    assert 0.02 < alarmed / windows < 0.07


LINE = """
[source]
kind = "folder"
path = "frames"
[archive]
uri = "archive"
[compress]
codec = "jpeg"
quality = 80
[logs]
file = "line.log"
[drift]
"""


def pilot_table(folder: Path, images: Sequence[Image], quality: int = 80) -> None:
    """`results.parquet` as a pilot writes it, of good frames alone; without a detector's scores."""
    codec, rows = load_codec("jpeg"), []
    for image in images:
        data = codec.encode(image, quality=quality)
        error = np.mean((image - codec.decode(data).astype(float)) ** 2)
        bpp = 8 * len(data) / image.size
        psnr = 10 * np.log10(255**2 / error)
        rows.append(("jpeg", "", quality, "", bpp, psnr))
    folder.mkdir(exist_ok=True)
    columns = ["codec", "model", "quality", "defect", "bpp", "psnr"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "results.parquet")


def test_a_line_that_changed_since_its_pilot_raises_alarms(
    frames: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pilot_table(tmp_path / "pilot", frames[:60])
    (tmp_path / "line.toml").write_text(LINE + 'pilot = "pilot"\nwindow = 20\n')
    monkeypatch.setattr(sys, "argv", ["inspect-compress", "run", str(tmp_path / "line.toml")])

    def alarms_after(images: Sequence[Image], prefix: str) -> list[str]:
        for number, image in enumerate(images):
            write_png(tmp_path / "frames" / f"{prefix}{number}.png", image)
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        lines = map(json.loads, (tmp_path / "line.log").read_text().splitlines())
        return sorted(line["kind"] for line in lines if line["event"] == "alarm")

    assert alarms_after(frames[60:80], "a") == []
    assert alarms_after([darker(image) for image in frames[:20]], "b") == ["bpp", "fidelity"]


def test_a_pilot_that_measured_something_else_is_refused(frames: list[Image], tmp_path: Path) -> None:
    def refused(text: str) -> str:
        (tmp_path / "line.toml").write_text(LINE.replace("quality = 80", text) + 'pilot = "pilot"\n')
        with pytest.raises(ConfigError) as error:
            watched_for_drift(read_config(tmp_path / "line.toml"), [])
        return str(error.value)

    assert "holds no results.parquet" in refused("quality = 80")
    pilot_table(tmp_path / "pilot", frames[:20])
    assert "has 20 good test frames, and a baseline needs 30" in refused("quality = 80")
    assert "has not measured jpeg at quality 60; it has qualities: 80" in refused("quality = 60")
    (tmp_path / "labels").mkdir()
    detect = 'quality = 80\n[detect]\ndetector = "anomaly"\ntrain = "labels"'
    assert "has not tried the detector anomaly" in refused(detect)
    (tmp_path / "pilot" / "results.parquet").write_bytes(b"no table")
    assert "is no Parquet table" in refused("quality = 80")
