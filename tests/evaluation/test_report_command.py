"""The `report` command: assumptions change the report, and a doctored result is refused by name."""

import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from evaluation.make_report import make_report
from evaluation.pdf import find_browser, print_pdf
from evaluation.run_folder import read_hashes, write_hashes
from evaluation.verify import verify
from inspect_compress import read_image, write_png
from inspect_compress.errors import EvidenceError, InspectCompressError
from pipelines.archive import Archive

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    """A copy of a finished pilot, to be doctored."""
    return Path(shutil.copytree(done, tmp_path / "run"))


def problems_of(folder: Path) -> str:
    """What `--verify` says, one problem per line."""
    return "\n".join(verify(folder, random.Random(1)).problems)


# Sound folders


def test_a_folder_is_sound_as_the_pilot_left_it(command: Command, done: Path) -> None:
    ran = command("report", "--verify", done)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("sound: ")
    fingerprint = json.loads((done / "hashes.json").read_text())["fingerprint"]
    assert f"fingerprint: {fingerprint}" in ran.stdout
    assert fingerprint in (done / "report.html").read_text(encoding="utf-8")


def test_frames_that_are_not_there_are_a_note_and_no_fault(run: Path) -> None:
    changed = json.loads((run / "run.json").read_text())
    changed["path"] = str(run / "nowhere")
    (run / "run.json").write_text(json.dumps(changed))
    write_hashes(run)
    make_report(run, ["en"])

    found = verify(run, random.Random(1))

    assert found.problems == ()
    assert found.images == 0
    assert found.images_missing > 0
    assert "were not compared" in found.notes[0]


# Doctored ones


def test_a_changed_file_is_named(command: Command, run: Path) -> None:
    summary = (run / "summary.json").read_text(encoding="utf-8")
    (run / "summary.json").write_text(summary.replace('"inconclusive"', '"safe"', 1), encoding="utf-8")
    (run / "thresholds.parquet").unlink()
    (run / "extra.csv").touch()

    ran = command("report", "--verify", run)

    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    for words in ("summary.json: was changed", "thresholds.parquet: is missing", "extra.csv: is not part of the run"):
        assert words in ran.stderr


@pytest.mark.parametrize(
    ("table", "column", "change", "words"),
    [
        ("results", "score_plant-spots", lambda value: value + 100, "score_plant-spots"),
        ("results", "bytes", lambda value: value - 1, "bpp is not what its bytes give"),
        ("results", "psnr", lambda value: value + 1, "psnr is"),
        ("results", "defect", lambda value: "" if value else "spot", "other labels"),
        ("originals", "bytes", lambda value: value + 1, "original_bytes is not"),
        ("thresholds", "threshold", lambda value: value - 100, "does not give its flag"),
    ],
)
def test_a_number_that_was_changed_is_found_though_the_hashes_were_made_anew(
    run: Path, table: str, column: str, change: Callable[[object], object], words: str
) -> None:
    path = run / f"{table}.parquet"
    frame = pd.read_parquet(path)
    place = frame[column].first_valid_index()
    frame[column] = [change(value) if row == place else value for row, value in frame[column].items()]
    frame.to_parquet(path, index=False)
    write_hashes(run)

    assert words in problems_of(run)


def test_a_number_of_the_summary_that_the_tables_do_not_give_is_found_though_the_hashes_were_made_anew(
    run: Path,
) -> None:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary["kpis"][1]["recall"] = 0.987
    summary["decision"]["verdict"] = "safe"
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    page = (run / "report.html").read_text(encoding="utf-8")
    (run / "report.html").write_text(page.replace("Not enough evidence", "Enough evidence"), encoding="utf-8")
    write_hashes(run)

    found = problems_of(run)

    assert re.search(r'summary\.json: decision\.verdict is "safe", the tables give "inconclusive"', found)
    assert re.search(r"summary\.json: kpis\[1\]\.recall is 0\.987, the tables give ", found)
    assert "report.html: is not the page that the tables give, at " in found


def test_flags_scores_and_summary_changed_together_still_give_another_fingerprint(done: Path, run: Path) -> None:
    results = pd.read_parquet(run / "results.parquet")
    results["score_plant-spots"] = 1e3 * (results["defect"] != "")
    results["flag_plant-spots"] = results["defect"] != ""
    results.to_parquet(run / "results.parquet", index=False)

    assert write_hashes(run).fingerprint != read_hashes(done).fingerprint


def test_an_image_of_the_dataset_that_was_changed_is_named(run: Path, spots: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(spots, tmp_path / "spots"))
    changed = json.loads((run / "run.json").read_text())
    changed["path"] = str(moved)
    (run / "run.json").write_text(json.dumps(changed))
    make_report(run, ["en"])
    assert problems_of(run) == ""
    image = read_image(moved / "images" / "003.png")
    image[0, 0] ^= 1
    write_png(moved / "images" / "003.png", image, overwrite=True)

    assert "images/003.png: the dataset's image is not the one that was tested" in problems_of(run)


def test_an_archive_that_lacks_a_frame_of_the_results_is_found(run: Path) -> None:
    records = list(Archive(run / "archive").frames())
    shutil.rmtree(run / "archive")
    Archive(run / "archive").append(records[1:])
    write_hashes(run)

    assert f"archive: lacks frame {records[0].frame_id}" in problems_of(run)


def test_a_picture_that_the_archive_does_not_hold_is_found(run: Path) -> None:
    crops = pd.read_parquet(run / "crops.parquet")
    pictures = crops["codec"] != "original"
    shown = crops.loc[pictures, "png"].tolist()
    crops.loc[pictures, "png"] = pd.Series([shown[-1]] * len(shown), index=crops.index[pictures])
    crops.to_parquet(run / "crops.parquet", index=False)
    write_hashes(run)

    found = problems_of(run)

    assert "crops.parquet: frame " in found
    assert "is not what the archive's file shows" in found


# Made again


def test_other_prices_and_margins_change_the_report_and_nothing_that_was_measured(
    command: Command, done: Path, run: Path
) -> None:
    prices = (run / "roi.toml").read_text(encoding="utf-8")
    cheaper, count = re.subn(r"(?m)^(cost_of_false_alarm|price_per_gb) = .*$", r"\1 = 1.5", prices)
    assert count == 2
    (run / "roi.toml").write_text(cheaper, encoding="utf-8")
    settings = (run / "pilot.toml").read_text(encoding="utf-8")
    (run / "pilot.toml").write_text(settings.replace("recall_margin = 0.05", "recall_margin = 0.6"), encoding="utf-8")
    assert "pilot.toml: was edited after the report was made" in problems_of(run)

    ran = command("report", run, "--lang", "ja", "--json")

    assert ran.returncode == 0, ran.stderr
    now, before = json.loads(ran.stdout), json.loads((done / "summary.json").read_text(encoding="utf-8"))
    assert now["decision"]["sentence"] != before["decision"]["sentence"]
    assert now["config"]["recall_margin"] == 0.6
    assert now["economics"]["pessimistic"]["npv"] > before["economics"]["pessimistic"]["npv"]
    assert now["fingerprint"] == before["fingerprint"]
    assert now["kpis"] == before["kpis"]
    assert not (run / "report.ja.html").exists()
    assert '<html lang="ja"' in (run / "report.html").read_text(encoding="utf-8")
    assert problems_of(run) == ""


def test_a_price_list_takes_the_place_of_the_folders(command: Command, run: Path, tmp_path: Path) -> None:
    prices = (run / "roi.toml").read_text(encoding="utf-8").replace('currency = "JPY"', 'currency = "EUR"')
    (tmp_path / "ours.toml").write_text(prices, encoding="utf-8")

    ran = command("report", run, "--roi", tmp_path / "ours.toml")

    assert ran.returncode == 0, ran.stderr
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["economics"]["currency"] == "EUR"
    assert (run / "roi.toml").read_text(encoding="utf-8") == prices


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = 3", "seed = 4", "pilot.toml: seed is 4, but the run was made with 3"),
        ("alpha = 0.025", "alpha = 2", "alpha"),
        ("alpha = 0.025", "alhpa = 0.1", "alhpa"),
    ],
)
def test_settings_that_only_a_new_pilot_can_change_are_refused(run: Path, old: str, new: str, words: str) -> None:
    settings = (run / "pilot.toml").read_text(encoding="utf-8")
    assert old in settings
    (run / "pilot.toml").write_text(settings.replace(old, new), encoding="utf-8")
    before = (run / "report.html").read_bytes()

    with pytest.raises(InspectCompressError, match=re.escape(words)):
        make_report(run, ["en"])

    assert (run / "report.html").read_bytes() == before


def test_a_report_is_not_made_from_tables_that_were_changed(command: Command, run: Path) -> None:
    results = pd.read_parquet(run / "results.parquet")
    results["bytes"] //= 2
    results.to_parquet(run / "results.parquet", index=False)

    ran = command("report", run)

    assert ran.returncode == 1
    assert "results.parquet: is not the file that the run wrote" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", [(), ("--verify",)])
def test_a_folder_of_something_else_is_refused(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = command("report", tmp_path, *arguments)

    assert ran.returncode == 1
    assert "error: " in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_run_that_says_nonsense_is_explained(run: Path) -> None:
    (run / "run.json").write_text('{"dataset": 1}')

    with pytest.raises(EvidenceError, match=r"run\.json: "):
        verify(run, random.Random(1))


# On paper


def test_the_report_is_printed_where_a_browser_is(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSPECT_COMPRESS_BROWSER", raising=False)
    browser = find_browser()
    if browser is None:
        pytest.skip("there is no Chromium or Chrome on this machine")

    assert print_pdf(done / "report.html", tmp_path / "report.pdf", browser) is None

    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("browser", ["/bin/false", "/nowhere/chromium"])
def test_a_browser_that_fails_costs_the_pdf_and_nothing_else(
    run: Path, monkeypatch: pytest.MonkeyPatch, browser: str
) -> None:
    if browser == "/bin/false" and not Path(browser).exists():
        pytest.skip("the system has no /bin/false")
    monkeypatch.setattr("evaluation.make_report.find_browser", lambda: browser)

    made = make_report(run, ["en"])

    assert made.pdfs == ()
    assert "report.pdf was not made" in made.warnings[0]
    assert not (run / "report.pdf").exists()
    assert problems_of(run) == ""
