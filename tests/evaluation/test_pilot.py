"""The pilot, run as a user runs it: what it leaves behind, that the figures agree, and how it refuses."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inspect_compress import load_codec, read_image, write_png
from pipelines.archive import Archive

Run = subprocess.CompletedProcess[str]
Pilot = Callable[..., Run]
Writer = Callable[..., None]

CONFIG = """
codecs = ["jpeg", "jxl"]
qualities = [5, 60, 90]
detectors = ["plant-spots", "plant-trained"]
seed = 3
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "pilot.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def done(pilot: Pilot, spots: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("done") / "out"
    ran = pilot(spots, "--out", out, "--config", settings)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-2:] == [f"report: {out / 'report.html'}", f"summary: {out / 'summary.json'}"]
    return out


def test_the_folder_holds_the_evidence_and_nothing_else(done: Path) -> None:
    assert sorted(p.name for p in done.iterdir()) == [
        "archive",
        "report.html",
        "results.parquet",
        "summary.json",
    ]
    assert sorted(p.name for p in done.parent.iterdir()) == ["out"]


def test_the_summary_has_the_agreed_keys_and_no_nan(done: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    summary = json.loads((done / "summary.json").read_text(), parse_constant=refuse)

    assert set(summary) >= {"decision", "kpis", "dataset", "versions"}
    assert set(summary["decision"]) >= {"verdict", "codec", "quality", "bpp", "sentence"}
    assert summary["decision"]["verdict"] in {"safe", "unsafe", "inconclusive"}
    keys = {"codec", "quality", "bpp", "psnr", "recall", "recall_low", "recall_high", "false_alarm_rate"}
    assert all(set(row) >= keys | {"far_low", "far_high", "auroc", "detector"} for row in summary["kpis"])
    settings = {(row["detector"], row["codec"], row["quality"]) for row in summary["kpis"]}
    swept = {(codec, quality) for codec in ("jpeg", "jxl") for quality in (5, 60, 90)} | {("original", None)}
    assert settings == {(name, *setting) for name in ("plant-spots", "plant-trained") for setting in swept}
    assert len(summary["kpis"]) == len(settings)


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


def test_the_same_seed_gives_the_same_figures(
    pilot: Pilot, spots: Path, settings: Path, done: Path, tmp_path: Path
) -> None:
    ran = pilot(spots, "--out", tmp_path / "again", "--config", settings, "--json", "--lang", "ja")

    assert ran.returncode == 0, ran.stderr
    again, first = json.loads(ran.stdout), json.loads((done / "summary.json").read_text())
    assert again["kpis"] == first["kpis"]
    assert again["decision"]["sentence"] != first["decision"]["sentence"]


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
    assert summary["detectors"]["left_out"] == ["plant-trained"]


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


def assert_one_line(ran: Run, *words: str) -> None:
    """The process failed with one line on standard error that has all the words, and no traceback."""
    assert ran.returncode == 1, ran.stdout + ran.stderr
    error = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", ran.stderr)
    message = [line for line in error.splitlines() if "error: " in line]
    assert len(message) == 1, error
    assert "Traceback" not in error
    for word in words:
        assert word in message[0]
