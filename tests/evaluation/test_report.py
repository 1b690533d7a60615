"""The report's page: both languages complete, nothing from outside, sound HTML, words that follow from figures."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

import evaluation.report
from evaluation.decision import decide
from evaluation.leakage import Leakage
from evaluation.report.page import render_report, sentence
from evaluation.report.section_front import leakage_words
from evaluation.report.texts import LANGUAGES, Texts, load_texts, placeholders
from evaluation.report.wording import retraining_sentence
from evaluation.statistics import Estimate
from tests.evaluation.report_evidence import CODECS, KINDS, MARGINS, QUALITIES, make_evidence

FOLDER = Path(evaluation.report.__file__).parent
ENGLISH_SENTENCE = re.compile(r"(?:\b[A-Za-z]{2,}\b[ ,;]+){4,}[A-Za-z]{2,}")
NAMES = re.compile(r"\{[a-z_]+\}|PSNR|MS-SSIM|AUROC|BD-rate|dB|bpp")
"""Placeholders, and what is called the same in Japanese."""


class Reader(HTMLParser):
    """Tags with their attributes, and the text that people read: not code, scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._unread = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._unread += tag in ("script", "style", "code", "pre")

    def handle_endtag(self, tag: str) -> None:
        self._unread -= tag in ("script", "style", "code", "pre")

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self.texts.append(data)

    def all(self, *names: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.tags if tag in names)


@pytest.fixture(scope="module", params=LANGUAGES)
def texts(request: pytest.FixtureRequest) -> Texts:
    return load_texts(request.param)


@pytest.fixture(scope="module")
def page(texts: Texts) -> str:
    return render_report(make_evidence(), texts)


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


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
    begun = set(re.findall(r"""["']([a-z_]+\.[a-z_]*)["'] ~|f["']([a-z_]+\.[a-z_]*)\{""", source))
    prefixes = {name for pair in begun for name in pair if name}

    asked = {
        name for name in re.findall(r"""['"]([a-z]+(?:_[a-z]+)*\.[a-z_]+)['"]""", source) if name not in prefixes
    }

    sections = {name.split(".")[0] for name in known}
    files = {path.name for path in FOLDER.iterdir()}
    assert {name for name in asked - files if name.split(".")[0] in sections} <= known
    assert {name for name in known if name not in asked and not name.startswith(tuple(prefixes))} == set()


def test_the_japanese_catalogue_is_in_japanese() -> None:
    for name, text in load_texts("ja").entries.items():
        if not name.startswith("unit."):
            assert re.search(r"[ぁ-んァ-ヶ一-龠]", text) or not re.search("[A-Za-z]", NAMES.sub("", text)), name


def test_the_japanese_page_has_no_english_sentence_left() -> None:
    read = Reader(render_report(make_evidence(), load_texts("ja")))
    said = [*read.texts, *(value or "" for _, attributes in read.tags for value in attributes.values())]

    assert [text for text in said if ENGLISH_SENTENCE.search(text.split("base64")[0])] == []


def test_nothing_is_loaded_from_elsewhere(read: Reader, page: str) -> None:
    for _, attributes in read.tags:
        for name in ("src", "href", "action", "srcset"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), attributes
    assert not re.search(r"https?://|url\(|@import", page)


def test_the_page_forbids_the_browser_to_load_anything(read: Reader) -> None:
    (policy,) = (meta["content"] for meta in read.all("meta") if "http-equiv" in meta)

    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_names_from_the_data_are_escaped(read: Reader, page: str) -> None:
    assert "gears &amp; &lt;shafts&gt;" in page
    assert "<shafts>" not in page
    assert "images/&lt;b&gt;&amp;.png" in page
    assert list(read.all("shafts")) == []


def test_every_setting_is_in_the_tables(page: str) -> None:
    for codec in CODECS:
        for quality in QUALITIES:
            rows = re.findall(rf'<th scope="row">{codec} {quality}</th>', page)
            assert len(rows) == 6  # detection and scenarios per detector, fidelity, kinds of defect
    assert "nan" not in re.sub(r"base64,[^\"]*|[a-z]*nance", "", page).lower()


def test_headings_do_not_skip_a_level(read: Reader) -> None:
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_pictures_tables_and_anchors_can_be_used_without_seeing(read: Reader) -> None:
    assert all(image.get("alt") for image in read.all("img"))
    assert all(header.get("scope") for header in read.all("th"))
    names = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(names) == len(set(names))
    anchors = [(link.get("href") or "")[1:] for link in read.all("a")]
    assert set(anchors) <= set(names)


def test_example_prices_are_called_so_on_the_first_page(texts: Texts, page: str) -> None:
    assert texts("basis.money_example") in unescape(page.split('<nav class="tabs"')[0])


def test_leakage_is_a_warning_on_the_first_page(texts: Texts, page: str) -> None:
    clean = replace(make_evidence(), leakage=Leakage((), (), (), (), "by hash"))

    assert texts("leakage.found", exact=1, near=2, groups=1) in page.split('<nav class="tabs"')[0]
    assert leakage_words(clean, texts) == texts("leakage.none")


def test_a_run_without_extras_makes_a_page(texts: Texts) -> None:
    evidence = make_evidence(scenarios=("frozen",))
    evidence = replace(evidence, shifts=(), samples=(), curves=(), economics=None)

    page = render_report(evidence, texts)

    assert texts("conditions.none").split("pilot.toml")[0] in page
    assert texts("scenarios.title") not in page
    assert 'id="money"' not in page


@pytest.mark.parametrize(
    ("damage", "frames", "verdict"),
    [(0.0, (60, 24), "inconclusive"), (0.35, (240, 180), "safe"), (40.0, (240, 180), "unsafe")],
)
def test_the_sentence_says_what_was_decided(
    texts: Texts, damage: float, frames: tuple[int, int], verdict: str
) -> None:
    decision = make_evidence(damage, frames=frames, scenarios=("frozen",)).decision

    words = sentence(decision, MARGINS, texts)

    assert decision.verdict == verdict
    assert "qarv" in words
    assert str(decision.kpi.quality) in words
    if verdict == "inconclusive":
        assert str(decision.more_defective) in words


def test_the_sentence_says_that_a_detector_is_blind(texts: Texts) -> None:
    decision = replace(make_evidence(scenarios=("frozen",)).decision, blind=True, verdict="inconclusive")

    assert "50.0%" in sentence(decision, MARGINS, texts)


def test_the_sentence_names_the_confidence_that_was_tested_at(texts: Texts) -> None:
    kpis = [kpi for kpi in make_evidence(scenarios=("frozen",)).kpis if kpi.detector == "classifier"]

    assert "90%" in sentence(decide(kpis, MARGINS, alpha=0.05), MARGINS, texts)


@pytest.mark.parametrize(("kept", "grade"), [(0.1, "most"), (0.5, "some"), (1.1, "little")])
def test_the_report_says_how_much_retraining_brings_back(texts: Texts, kept: float, grade: str) -> None:
    frozen = next(kpi for kpi in make_evidence().kpis if kpi.quality == 10)
    frozen = replace(frozen, auroc_loss=Estimate(0.2, 0.15, 0.25))
    adapted = replace(frozen, scenario="adapted", auroc_loss=Estimate(0.2 * kept, 0.0, 0.3))

    words = retraining_sentence({"frozen": [frozen], "adapted": [adapted]}, texts)

    ending = texts.entries[f"recovery.{grade}"].split("{far}")[1].split("{share}")[0]
    assert ending in words
    assert "0.200" in words


def test_where_nothing_is_lost_there_is_nothing_to_bring_back(texts: Texts) -> None:
    frozen = next(kpi for kpi in make_evidence().kpis if kpi.quality == 10)
    frozen = replace(frozen, auroc_loss=Estimate(0.01, -0.02, 0.04))

    assert retraining_sentence({"frozen": [frozen]}, texts) == texts("scenarios.nothing_lost", confidence="95%")


def test_every_kind_of_defect_is_named(page: str) -> None:
    for kind in KINDS:
        assert f'<th scope="col">{kind}</th>' in page
