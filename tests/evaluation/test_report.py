"""The report: both languages complete, nothing from outside, and a browser that shows it without complaint."""

import io
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import evaluation.report
from evaluation.decision import Margins, decide
from evaluation.kpis import Kpi, compute_kpis
from evaluation.report.page import Facts, render_report, sentence
from evaluation.report.samples import Crop, Sample
from evaluation.report.texts import LANGUAGES, load_texts, placeholders

MARGINS = Margins(recall=0.05, false_alarms=0.05)
FOLDER = Path(evaluation.report.__file__).parent


def make_kpis(frames: int, change: float) -> list[Kpi]:
    """Two codecs at three qualities on `frames` good and as many defective frames."""
    rng = np.random.default_rng(0)
    defects = [""] * frames + ["crack", "pit"] * (frames // 2)
    scores = np.concatenate([rng.normal(0, 1, frames), rng.normal(3, 1, frames)])
    base = {"frame_id": [str(n) for n in range(2 * frames)], "defect": defects, "width": 64, "height": 64}
    originals = pd.DataFrame({**base, "bytes": 3000, "psnr": np.nan, "score_d": scores, "score_e": scores})
    results = []
    for place, codec in enumerate(("new", "old")):
        for quality in (90, 50, 10):
            changed = scores + change * rng.normal(0, 1, 2 * frames)
            size = (place + 1) * quality * 10
            columns = {"codec": codec, "quality": quality, "bytes": size, "psnr": 30.0 + quality / 5}
            results.append(pd.DataFrame({**base, **columns, "score_d": changed, "score_e": scores}))
    return compute_kpis(originals, pd.concat(results), {"d": 1.6, "e": 1.6})


def make_samples() -> list[Sample]:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))).save(buffer, "PNG")
    settings = [(codec, quality) for codec in ("new", "old") for quality in (90, 50, 10)]
    crops = tuple(Crop(codec, quality, 0.5, quality > 20, buffer.getvalue()) for codec, quality in settings)
    return [Sample("images/<b>&.png", "crack", True, buffer.getvalue(), crops)]


FACTS = Facts(
    dataset="gears & <shafts>",
    made_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    splits={"train": (100, 5), "calibration": (30, 10), "test": (40, 40)},
    kinds={"crack": 20, "pit": 20},
    groups=7,
    raw_bytes=5_000_000,
    target_false_alarm_rate=0.05,
    seed=0,
    thresholds={"d": 1.6, "e": 1.6},
    left_out=["learner"],
    needed=8,
    models={"new": "0123456789abcdef", "old": ""},
    qualities=[90, 50, 10],
    versions={"inspect-compress": "0.1.0", "python": "3.11"},
    settings='codecs = ["new", "old"]',
)


@pytest.fixture(params=LANGUAGES)
def page(request: pytest.FixtureRequest) -> str:
    kpis = make_kpis(40, 0.6)
    texts = load_texts(request.param)
    return render_report(kpis, decide(kpis, MARGINS), MARGINS, make_samples(), FACTS, texts)


def test_both_catalogues_have_the_same_texts_with_the_same_values() -> None:
    english, japanese = (load_texts(lang).entries for lang in LANGUAGES)

    assert set(english) == set(japanese)
    for name in english:
        assert placeholders(english[name]) == placeholders(japanese[name]), name
        assert english[name].strip()
        assert japanese[name].strip()


def test_every_text_that_is_asked_for_is_there_and_every_text_is_asked_for() -> None:
    source = "".join(p.read_text(encoding="utf-8") for p in FOLDER.iterdir() if p.suffix in (".py", ".html"))
    known = set(load_texts("en").entries)
    begun = set(re.findall(r'"([a-z]+\.[a-z_]*)" ~|f"([a-z]+\.)\{', source))
    prefixes = {name for pair in begun for name in pair if name}

    asked = {name for name in re.findall(r"""['"]([a-z]+\.[a-z_]+)['"]""", source) if name not in prefixes}

    sections = {name.split(".")[0] for name in known}
    files = {path.name for path in FOLDER.iterdir()}
    assert {name for name in asked - files if name.split(".")[0] in sections} <= known
    assert {name for name in known if name not in asked and not name.startswith(tuple(prefixes))} == set()


def test_the_japanese_catalogue_is_in_japanese() -> None:
    without = {"kpi.psnr", "kpi.auroc", "samples.bpp", "samples.frame", "method.psnr", "method.threshold"}
    for name, text in load_texts("ja").entries.items():
        if name not in without and not name.startswith("unit."):
            assert re.search(r"[ぁ-んァ-ヶ一-龠]", text), name


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    for address in re.findall(r"""(?:src|href|action|srcset)=["']([^"']*)""", page):
        assert address.startswith("data:"), address
    assert not re.search(r"https?://|url\(|@import|<script", page)


def test_names_from_the_data_are_escaped(page: str) -> None:
    assert "gears &amp; &lt;shafts&gt;" in page
    assert "<shafts>" not in page
    assert "<b>" not in page.replace("<b>作成", "").replace("<b>確認", "").replace("<b>承認", "").replace(
        "<b>Prepared", ""
    ).replace("<b>Checked", "").replace("<b>Approved", "")


def test_every_setting_and_detector_is_in_the_tables(page: str) -> None:
    for codec in ("new", "old"):
        for quality in (90, 50, 10):
            assert len(re.findall(rf"<th>{codec} {quality}</th>", page)) == 4  # two detectors, classes, sizes
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    ("frames", "change", "verdict"), [(40, 0.0, "inconclusive"), (400, 0.0, "safe"), (400, 6.0, "unsafe")]
)
def test_the_sentence_says_what_was_decided(lang: str, frames: int, change: float, verdict: str) -> None:
    decision = decide(make_kpis(frames, change), MARGINS)

    words = sentence(decision, MARGINS, load_texts(lang))

    assert decision.verdict == verdict
    assert "new" in words
    assert str(decision.kpi.quality) in words
    if verdict == "inconclusive":
        assert str(decision.more_defective) in words


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_sentence_says_that_a_detector_is_blind(lang: str) -> None:
    decision = replace(decide(make_kpis(40, 0.0), MARGINS), blind=True)

    assert "50.0%" in sentence(decision, MARGINS, load_texts(lang))


def test_a_browser_shows_the_page(page: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here: the report was not opened in a browser")
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run"
    command = [browser, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]

    shown = subprocess.run(
        [*command, (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=120
    )

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("<h2") == 7
    assert shown.stdout.count("<img") == page.count("<img")
    assert "CONSOLE" not in shown.stderr
