"""The report's part on money: complete in both languages, with reasons in place of figures that there are not."""

import base64
import doctest
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FunctionLoader, StrictUndefined

from evaluation.economics import economics
from evaluation.report.money import count, money, price, share, size
from evaluation.report.section_roi import roi_view
from evaluation.report.texts import LANGUAGES, load_texts
from evaluation.roi_config import RoiSettings, example_settings
from tests.evaluation.roi_cases import make_outcome, make_settings

FREE = {"hardware": 0, "setup": 0, "licences_per_year": 0, "running_per_month": 0}


@pytest.fixture
def section() -> Callable[..., str]:
    """Renders the macro by itself: `section(lang, settings, **of_the_outcome)`."""

    def render(lang: str, settings: RoiSettings, **outcome: Any) -> str:
        folder = files("evaluation.report")
        environment = Environment(
            loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
            autoescape=True,
            undefined=StrictUndefined,
        )
        environment.filters["roi_view"] = roi_view
        module: Any = environment.get_template("roi.html").module
        return str(module.roi_section(economics(settings, make_outcome(**outcome)), load_texts(lang)))

    return render


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        (example_settings(), {"lost": 2, "added": 1}),
        (make_settings(), {}),
        (make_settings(), {"coded": 1_000_000}),
        (make_settings(stages=FREE), {}),
        (make_settings(), {"defective": 0}),
        (make_settings(), {"good": 0}),
        (make_settings(link={"speed_mbit_s": 0.01}), {"good": 30, "defective": 3, "lost": 3}),
        (make_settings(plant={"cost_of_escape": 1e5, "frames_per_day": 1e9}), {"lost": 30}),
    ],
    ids=["example", "pays", "no savings", "no costs", "no defective", "no good", "slow link", "huge"],
)
def test_the_section_is_complete(
    section: Callable[..., str], lang: str, settings: RoiSettings, outcome: dict[str, int]
) -> None:
    page = section(lang, settings, **outcome)
    words = re.sub(r"base64,[^\"]*", "", page)

    assert not re.search(r"\b(nan|inf|None)\b", words)
    assert not re.search(r"[{}]", words)
    for address in re.findall(r'src="([^"]*)"', page):
        assert address.startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_reasons_stand_where_there_is_no_figure(section: Callable[..., str], lang: str) -> None:
    texts = load_texts(lang)

    without = section(lang, make_settings(), defective=0)
    never = section(lang, make_settings(), coded=1_000_000)

    assert texts("roi.why_no_defective") in without
    assert "<img" not in without
    assert texts("roi.why_never") in never


@pytest.mark.parametrize("lang", LANGUAGES)
def test_example_assumptions_are_called_so(section: Callable[..., str], lang: str) -> None:
    notice = load_texts(lang)("roi.notice_example").replace("'", "&#39;")

    assert notice in section(lang, example_settings())
    assert notice not in section(lang, make_settings())


def test_the_lead_says_what_it_is_worth(section: Callable[..., str]) -> None:
    worth = "compression is worth ¥"

    assert worth in section("en", make_settings())
    assert worth not in section("en", make_settings(), coded=1_000_000)
    assert "正味現在価値（NPV）で" in section("ja", make_settings())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_charts_are_text_with_labels_and_units(section: Callable[..., str], lang: str) -> None:
    texts = load_texts(lang)
    page = section(lang, make_settings(), lost=2)

    tornado, cash, distribution = (
        base64.b64decode(data).decode() for data in re.findall(r"svg\+xml;base64,([^\"]*)", page)
    )

    assert texts("roi.setting_cost_of_escape") in tornado
    assert texts("roi.tornado_low") in tornado
    assert texts("roi.stage_edge") in cash
    assert texts("roi.cash_expected") in cash
    assert texts("roi.months_axis") in cash
    assert texts("roi.npv_axis") in distribution
    assert all(texts("unit.yen") in chart for chart in (tornado, cash, distribution))


@pytest.mark.parametrize(
    ("value", "currency", "english", "japanese"),
    [
        (0, "JPY", "¥0", "0円"),
        (98_765.4, "JPY", "¥98,765", "98,765円"),
        (1_234_567, "JPY", "¥1.23 million", "123万円"),
        (-56_780_000, "JPY", "−\u2060¥56.8 million", "−\u20605,678万円"),
        (234_600_000, "JPY", "¥235 million", "2.35億円"),
        (12_345_678_901, "JPY", "¥12.3 billion", "123億円"),
        (12.5, "USD", "$12.50", "12.50ドル"),
        (-0.2, "JPY", "¥0", "0円"),
        (1_234, "CHF", "CHF 1,234", "1,234 CHF"),
    ],
)
def test_money_is_written_as_each_language_does(value: float, currency: str, english: str, japanese: str) -> None:
    assert money(value, currency, load_texts("en")) == english
    assert money(value, currency, load_texts("ja")) == japanese


def test_other_figures_keep_the_digits_that_matter() -> None:
    texts = load_texts("en")

    assert price(0.023, "USD", texts) == "$0.023"
    assert price(10_000, "JPY", texts) == "¥10,000"
    assert share(0.0005) == "0.05%"
    assert size(71_860e9, texts) == "71.9 TB"
    assert count(-1234.6, sign=True) == "−\u20601,235"
    assert count(0.0, sign=True) == "0"


def test_the_worked_example_of_the_docs_is_true() -> None:
    page = Path(__file__).parents[2] / "docs" / "roi.md"

    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")

    assert tried > 10
    assert failed == 0
