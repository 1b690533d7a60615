"""The pilot, run as a user runs it: what it leaves behind, that the figures agree, and how it refuses."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.roi_config import EXAMPLE
from inspect_compress import load_codec, read_image, write_png
from pipelines.archive import Archive

Run = subprocess.CompletedProcess[str]
Pilot = Callable[..., Run]
Start = Callable[..., "subprocess.Popen[str]"]
Writer = Callable[..., None]

SETTINGS = """
codecs = ["jpeg", "jxl"]
qualities = [5, 60, 90]
detectors = ["plant-spots", "plant-trained"]
seed = 3
shifts = ["exposure"]
shift_frames = 20
"""
"""Those of the fixture `done`."""

FILES = [
    "archive",
    "crops.parquet",
    "hashes.json",
    "manifest.csv",
    "originals.parquet",
    "pilot.toml",
    "report.html",
    "report.ja.html",
    "results.parquet",
    "roi.toml",
    "run.json",
    "shifts.parquet",
    "summary.json",
    "thresholds.parquet",
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of `done`, without shifts."""
    path = tmp_path_factory.mktemp("settings") / "pilot.toml"
    path.write_text("".join(line for line in SETTINGS.splitlines(keepends=True) if not line.startswith("shift")))
    return path


def test_the_folder_holds_the_evidence_and_nothing_else(done: Path) -> None:
    assert sorted(p.name for p in done.iterdir()) == FILES
    assert sorted(p.name for p in done.parent.iterdir()) == ["out", "pilot.toml"]


def test_the_summary_has_the_agreed_keys_and_no_nan(done: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    summary = json.loads((done / "summary.json").read_text(), parse_constant=refuse)

    assert set(summary) >= {"decision", "kpis", "dataset", "versions"}
    assert set(summary["decision"]) >= {"verdict", "codec", "quality", "bpp", "sentence"}
    assert summary["decision"]["verdict"] in {"safe", "unsafe", "inconclusive"}
    keys = {"codec", "quality", "bpp", "psnr", "recall", "recall_low", "recall_high", "false_alarm_rate"}
    assert all(set(row) >= keys | {"far_low", "far_high", "auroc", "detector"} for row in summary["kpis"])
    rows = [row for row in summary["kpis"] if row["scenario"] == "frozen"]
    settings = {(row["detector"], row["codec"], row["quality"]) for row in rows}
    swept = {(codec, quality) for codec in ("jpeg", "jxl") for quality in (5, 60, 90)} | {("original", None)}
    assert settings == {(name, *setting) for name in ("plant-spots", "plant-trained") for setting in swept}
    assert len(rows) == len(settings)


def test_every_codec_and_quality_sees_the_same_frames_once(done: Path) -> None:
    results = pd.read_parquet(done / "results.parquet")

    frames = results.groupby(["codec", "quality"])["frame_id"].agg(lambda ids: tuple(sorted(ids)))
    assert len(frames) == 6
    assert frames.nunique() == 1
    assert len(set(frames.iloc[0])) == len(frames.iloc[0])
    assert {"score_plant-spots", "score_plant-trained"} <= set(results.columns)


def test_bytes_in_the_archive_and_in_the_table_agree(done: Path) -> None:
    results = pd.read_parquet(done / "results.parquet")
    stored = pd.DataFrame(
        [(r.frame_id, r.codec, r.quality, len(r.payload)) for r in Archive(done / "archive").frames()],
        columns=["frame_id", "codec", "quality", "bytes"],
    )

    assert Archive(done / "archive").total_bytes() == results["bytes"].sum() == stored["bytes"].sum()
    keys = ["frame_id", "codec", "quality"]
    paired = results.merge(stored, on=keys, validate="one_to_one")
    assert len(paired) == len(results)
    assert (paired["bytes_x"] == paired["bytes_y"]).all()


def test_bpp_of_the_summary_is_bits_in_the_files_per_pixel(done: Path) -> None:
    results = pd.read_parquet(done / "results.parquet")
    kpis = json.loads((done / "summary.json").read_text())["kpis"]

    for row in kpis[1:7]:
        own = results[(results["codec"] == row["codec"]) & (results["quality"] == row["quality"])]
        assert row["bpp"] == pytest.approx(8 * own["bytes"].sum() / (64 * 64 * len(own)))


def test_scores_come_from_the_stored_bytes(done: Path, spots: Path) -> None:
    """The PSNR of the table is that of decoding what lies in the archive."""
    results = pd.read_parquet(done / "results.parquet")
    record = next(Archive(done / "archive").frames())
    decoded = load_codec(record.codec).decode(record.payload).astype(float)
    error = np.mean((decoded - read_image(spots / record.frame_id)) ** 2)

    row = results[
        (results["frame_id"] == record.frame_id)
        & (results["codec"] == record.codec)
        & (results["quality"] == record.quality)
    ]
    assert row["psnr"].item() == pytest.approx(10 * np.log10(255**2 / error))
    assert record.psnr == pytest.approx(row["psnr"].item())


def test_a_killed_pilot_goes_on_where_it_was_and_ends_with_the_same_figures(
    pilot: Pilot, start_pilot: Start, spots: Path, done: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text(SETTINGS)
    arguments = (spots, "--out", tmp_path / "out", "--config", tmp_path / "p.toml")
    work = tmp_path / ".out.pilot"
    with start_pilot(*arguments) as killed:
        while killed.poll() is None and not list(work.glob("parts/results*")):
            time.sleep(0.01)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    stored = stored_at(work / "archive")
    assert stored

    again = pilot(*arguments, "--json", "--lang", "ja")

    assert again.returncode == 0, again.stderr
    assert f"going on from what an earlier run left in {work}" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "p.toml"]
    assert stored.items() <= stored_at(tmp_path / "out" / "archive").items()
    figures, first = json.loads(again.stdout), json.loads((done / "summary.json").read_text())
    assert figures["kpis"] == first["kpis"]
    assert figures["shifts"] == first["shifts"]
    assert figures["decision"]["sentence"] != first["decision"]["sentence"]


@pytest.mark.slow
def test_a_pilot_on_ray_has_the_same_figures(
    pilot: Pilot, spots: Path, settings: Path, done: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")

    ran = pilot(spots, "--out", tmp_path / "out", "--config", settings, "--engine", "ray")

    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    for table in ("originals.parquet", "results.parquet", "thresholds.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / table), pd.read_parquet(done / table))
    assert stored_at(tmp_path / "out" / "archive").keys() == stored_at(done / "archive").keys()


def test_an_interrupted_pilot_says_how_to_go_on(
    start_pilot: Start, spots: Path, settings: Path, tmp_path: Path
) -> None:
    work = tmp_path / ".out.pilot"
    with start_pilot(spots, "--out", tmp_path / "out", "--config", settings) as running:
        while running.poll() is None and not (work / "archive").is_dir():
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)

    assert running.returncode == 130, error
    assert f"interrupted; what was measured is in {work}" in error
    assert "Traceback" not in error
    assert work.is_dir()


def test_detectors_and_shifts_of_the_command_line_stand_in_for_those_of_the_settings(
    pilot: Pilot, spots: Path, settings: Path, tmp_path: Path
) -> None:
    options = ("--detector", "plant-trained", "--shifts", "gamma, focus", "--json")
    ran = pilot(spots, "--out", tmp_path / "out", "--config", settings, *options)

    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["decision"]["detector"] == "plant-trained"
    assert {row["shift"] for row in summary["shifts"]} == {"gamma", "focus"}
    assert summary["config"]["shifts"] == ["gamma", "focus"]
    assert "--shifts" in summary["command"]


def test_an_existing_folder_is_refused_and_left_alone(pilot: Pilot, spots: Path, settings: Path, done: Path) -> None:
    before = (done / "summary.json").read_bytes()

    ran = pilot(spots, "--out", done, "--config", settings)

    assert_one_line(ran, "exists already", "--overwrite")
    assert (done / "summary.json").read_bytes() == before


def test_without_defects_to_learn_from_the_verdict_rests_on_the_next_detector(
    pilot: Pilot, write_dataset: Writer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    defects = [""] * 60 + ["spot"] * 8
    write_dataset(data, defects, ["train"] * 45 + ["test"] * 23)
    (tmp_path / "p.toml").write_text(
        'codecs = ["jpeg"]\nqualities = [80]\ndetectors = ["plant-trained", "plant-spots"]\n'
    )

    ran = pilot(data, "--out", tmp_path / "out", "--config", tmp_path / "p.toml", "--json")

    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["decision"]["detector"] == "plant-spots"
    assert summary["detectors"]["left_out"] == {"plant-trained": "too_few"}


def test_qarv_and_the_built_in_detectors_make_a_report(pilot: Pilot, spots: Path, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('codecs = ["qarv"]\nqualities = [60]\n')

    ran = pilot(spots, "--out", tmp_path / "out", "--config", tmp_path / "p.toml", "--json", "--lang", "ja")

    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert set(summary["detectors"]["thresholds"]) == {"classifier", "anomaly"}
    assert re.fullmatch("[0-9a-f]{16}", summary["models"]["qarv"])
    assert "検出率" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('codecs = ["jpeg9"]', ("jpeg9", "known: ")),
        ('detectors = ["oracle"]', ("oracle", "known: ")),
        ("qualities = [0]", ("p.toml", "qualities, item 1", "greater than or equal to 1")),
        ("qualities = []", ("p.toml", "qualities", "at least 1 item")),
        ("qualities = [5, 5]", ("p.toml", "qualities", "twice")),
        ("colour = 1", ("p.toml", "colour", "not known")),
        ("recall_margin = 1.5", ("p.toml", "recall_margin", "less than 1")),
        ("seed = [", ("p.toml", "is not valid TOML")),
        ('detectors = ["plant-nan"]', ("plant-nan", "not a finite number")),
        ('detectors = ["plant-short"]', ("plant-short", "scores of shape")),
        ("alpha = 0.5", ("p.toml", "alpha", "less than 0.5")),
    ],
)
def test_bad_settings_are_explained_in_one_line(
    pilot: Pilot, spots: Path, tmp_path: Path, config: str, words: tuple[str, ...]
) -> None:
    extra = "" if config.startswith("codecs") else 'codecs = ["jpeg"]\n'
    (tmp_path / "p.toml").write_text(extra + config)

    ran = pilot(spots, "--out", tmp_path / "out", "--config", tmp_path / "p.toml")

    assert_one_line(ran, *words)
    assert [p.name for p in tmp_path.iterdir()] == ["p.toml"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--detector", "oracle"), ("oracle", "known: ")),
        (("--shifts", "earthquake"), ("earthquake", "known: exposure")),
        (("--roi", "none.toml"), ("none.toml", "no such file")),
    ],
)
def test_bad_options_are_explained_in_one_line(
    pilot: Pilot, spots: Path, tmp_path: Path, option: tuple[str, str], words: tuple[str, ...]
) -> None:
    assert_one_line(pilot(spots, "--out", tmp_path / "out", *option), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cost_of_escape = -1", ("cost_of_escape", "greater than or equal to 0")),
        ("", ("cost_of_escape", "is missing")),
    ],
)
def test_prices_that_are_missing_or_negative_are_named_before_anything_is_measured(
    pilot: Pilot, spots: Path, tmp_path: Path, line: str, words: tuple[str, ...]
) -> None:
    prices = EXAMPLE.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^cost_of_escape = \d.*$", line, prices)
    assert count == 1
    (tmp_path / "roi.toml").write_text(changed, encoding="utf-8")

    ran = pilot(spots, "--out", tmp_path / "out", "--roi", tmp_path / "roi.toml")

    assert_one_line(ran, "roi.toml", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["roi.toml"]


def test_a_settings_file_that_is_not_there_is_named(pilot: Pilot, spots: Path, tmp_path: Path) -> None:
    assert_one_line(pilot(spots, "--out", tmp_path / "o", "--config", tmp_path / "none.toml"), "none.toml")


@pytest.mark.parametrize("reason", ["damaged", "12 bits per sample"])
def test_a_test_image_that_cannot_be_measured_is_named_and_nothing_is_left(
    pilot: Pilot, write_dataset: Writer, settings: Path, tmp_path: Path, reason: str
) -> None:
    data = tmp_path / "data"
    write_dataset(
        data, [""] * 45 + ["spot"] * 15, (["train"] * 15 + ["calibration"] * 15 + ["test"] * 15) + ["test"] * 15
    )
    image = data / "images" / "059.png"
    if reason == "damaged":
        image.write_bytes(image.read_bytes()[:200])
    else:
        write_png(image, np.full((64, 64), 4095, np.uint16), overwrite=True)

    ran = pilot(data, "--out", tmp_path / "out", "--config", settings)

    assert_one_line(ran, "059.png", reason)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("defects", "words"),
    [
        ([""] * 40, ("all 40 frames are good", "defective ones are needed")),
        ([""] * 60 + ["spot"] * 4, ("defective frames", "at least 5 are needed")),
    ],
)
def test_a_dataset_that_cannot_answer_is_refused(
    pilot: Pilot, write_dataset: Writer, tmp_path: Path, defects: list[str], words: tuple[str, ...]
) -> None:
    data = tmp_path / "data"
    write_dataset(data, defects)

    ran = pilot(data, "--out", tmp_path / "out")

    assert_one_line(ran, *words)
    assert not (tmp_path / "out").exists()


def stored_at(archive: Path) -> dict[tuple[str, ...], object]:
    """When each row of an archive was stored."""
    columns = ["codec", "quality", "frame_id", "stored_at"]
    rows = [row for batch in Archive(archive).scan(columns=columns) for row in batch.to_pylist()]
    return {tuple(row[name] for name in columns[:3]): row["stored_at"] for row in rows}


def assert_one_line(ran: Run, *words: str) -> None:
    """The process failed with one line on standard error that has all the words, and no traceback."""
    assert ran.returncode == 1, ran.stdout + ran.stderr
    error = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", ran.stderr)
    message = [line for line in error.splitlines() if "error: " in line]
    assert len(message) == 1, error
    assert "Traceback" not in error
    for word in words:
        assert word in message[0]
