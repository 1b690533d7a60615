"""The report in a real browser: quiet, alone, usable by mouse, keyboard and phone, and clean on paper."""

import io
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.escapes import Changes
from evaluation.report.page import render_report
from evaluation.report.texts import LANGUAGES, Texts, load_texts
from tests.evaluation.report_evidence import make_evidence

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: the report was not opened")
pypdf = pytest.importorskip("pypdf", reason="no pypdf here: the printed report was not read")

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
A4 = (210 / 25.4 * 72, 297 / 25.4 * 72)
"""Points."""
PRINTED_WIDTH = round(186 / 25.4 * 96)
"""CSS pixels between the margins of a sheet of A4."""
PHONE = {"width": 360, "height": 740}

CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("main *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const pair = [light(numbers(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    if ((pair[0] + 0.05) / (pair[1] + 0.05) < 4.5) faint.push(element.outerHTML.slice(0, 120));
  }
  return faint;
}"""
"""Text whose contrast with its background is below 4.5 : 1 (WCAG 2.2, section 1.4.3)."""


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no chromium here: the report was not opened in a browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=LANGUAGES)
def texts(request: pytest.FixtureRequest) -> Texts:
    return load_texts(request.param)


@pytest.fixture(scope="module")
def report(texts: Texts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(texts.lang) / "report.html"
    path.write_text(render_report(make_evidence(), texts), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: "playwright.Browser", report: Path) -> Iterator["playwright.Page"]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(report.as_uri())
    yield page
    page.close()


def test_it_opens_without_a_complaint_and_asks_the_network_for_nothing(
    browser: "playwright.Browser", report: Path
) -> None:
    page = browser.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    page.goto(report.as_uri())
    for tab in page.get_by_role("tab").all():
        tab.click()

    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("[...document.images].filter((image) => !image.naturalWidth).length") == 0
    page.close()


def test_the_browser_itself_refuses_the_network(page: "playwright.Page") -> None:
    refused = page.evaluate(
        """() => new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          const image = new Image();
          image.src = "http://127.0.0.1:9/pixel.png";
        })"""
    )

    assert refused == "img-src"


def test_tabs_work_by_mouse(page: "playwright.Page", texts: Texts) -> None:
    page.get_by_role("tab", name=texts("tab.defects")).click()

    assert page.locator("#defects").is_visible()
    assert not page.locator("#evidence").is_visible()
    assert page.get_by_role("tab", selected=True).inner_text() == texts("tab.defects")


def test_tabs_work_by_keyboard(page: "playwright.Page") -> None:
    page.get_by_role("tab", selected=True).focus()

    for key, shown in (("ArrowRight", "conditions"), ("End", "reproduction"), ("ArrowRight", "evidence")):
        page.keyboard.press(key)
        assert page.locator(".panel:visible").evaluate_all("all => all.map((one) => one.id)") == [shown]


def test_an_address_with_a_section_opens_its_tab(browser: "playwright.Browser", report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri() + "#leakage")

    assert page.locator("#data").is_visible()
    assert page.locator("#leakage").is_visible()
    page.close()


def test_the_slider_uncovers_the_decoded_crop_by_keyboard(page: "playwright.Page", texts: Texts) -> None:
    page.get_by_role("tab", name=texts("tab.defects")).click()
    slider = page.get_by_role("slider").first
    before = page.locator(".stack").first.locator("img").nth(1)
    half = before.evaluate("image => getComputedStyle(image).clipPath")

    slider.focus()
    page.keyboard.press("Home")

    assert before.evaluate("image => getComputedStyle(image).clipPath") != half
    assert slider.input_value() == "0"
    assert slider.get_attribute("aria-label") == texts("defects.slider")


def test_a_quality_is_chosen_for_comparison_by_keyboard(page: "playwright.Page", texts: Texts) -> None:
    page.get_by_role("tab", name=texts("tab.defects")).click()
    case = page.locator("article.case").first
    decoded = case.locator(".stack img").first
    at_first_loss = decoded.get_attribute("src")

    case.get_by_role("radio", checked=True).focus()
    page.keyboard.press("ArrowRight")

    assert decoded.get_attribute("src") != at_first_loss
    assert texts("table.quality", quality=30) in case.locator(".shown").inner_text()


def test_on_a_phone_no_section_scrolls_sideways(browser: "playwright.Browser", report: Path) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(report.as_uri())

    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], tab.inner_text()
    page.close()


def test_without_scripts_everything_is_there(browser: "playwright.Browser", report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())

    assert all(panel.is_visible() for panel in page.locator(".panel").all())
    assert all(crop.is_visible() for crop in page.locator(".crops img").all())
    context.close()


def test_text_stands_out_from_its_background(page: "playwright.Page") -> None:
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.evaluate(CONTRAST) == []


def test_the_first_sheet_has_all_that_is_signed(page: "playwright.Page", texts: Texts) -> None:
    sheets = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True))).pages
    first, second = (_plain(sheet.extract_text()) for sheet in sheets[:2])

    for sheet in sheets:
        assert (sheet.mediabox.width, sheet.mediabox.height) == pytest.approx(A4, abs=1)
    for name in ("verdict.safe", *(f"key.{name}" for name in ("recall", "far", "size"))):
        assert _plain(texts(name)) in first, name
    for name in ("front.recall_axis", "basis.margins", "basis.leakage", "sign.approved", "sign.reject"):
        assert _plain(texts(name)) in first, name
    assert _plain(texts("tab.evidence")) not in first
    assert second.startswith(_plain(texts("tab.evidence")))


def test_the_longest_decision_still_fits_the_first_sheet(
    browser: "playwright.Browser", texts: Texts, tmp_path: Path
) -> None:
    evidence = make_evidence(frames=(60, 24), scenarios=("frozen",))
    facts = replace(evidence.facts, dataset="panel-line-7_camera-2_" * 4)
    evidence = replace(evidence, facts=facts, samples=(), shifts=(), changes=Changes((), (), 0, 0))
    (tmp_path / "report.html").write_text(render_report(evidence, texts), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())

    sheets = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages

    assert evidence.decision.verdict == "inconclusive"
    assert _plain(texts("sign.reject")) in _plain(sheets[0].extract_text())
    assert _plain(sheets[1].extract_text()).startswith(_plain(texts("tab.evidence")))
    page.close()


def test_on_paper_all_sections_are_shown_and_no_table_is_cut(page: "playwright.Page") -> None:
    page.set_viewport_size({"width": PRINTED_WIDTH, "height": 1000})
    page.emulate_media(media="print")

    assert all(panel.is_visible() for panel in page.locator(".panel").all())
    assert not page.locator(".compare").first.is_visible()
    beyond = (
        "all => all.filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML)"
    )
    assert page.locator("table, figure, pre, .sign, .keys").evaluate_all(beyond) == []


def _plain(text: str) -> str:
    """Without spaces, which a PDF does not keep, and with the usual forms of its letters."""
    return "".join(unicodedata.normalize("NFKC", text).split())
