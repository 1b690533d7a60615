"""Writes what is derived from a run's folder: summary, pages, PDFs, hashes. Reads no dataset and runs no codec."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.gather import gather
from evaluation.pdf import find_browser, print_pdf
from evaluation.report.page import render_report
from evaluation.report.texts import load_texts
from evaluation.roi_config import read_roi_settings
from evaluation.run_folder import (
    DERIVED,
    JAPANESE,
    JAPANESE_PDF,
    PDF,
    REPORT,
    ROI,
    SUMMARY,
    hash_folder,
    json_bytes,
    read_hashes,
    read_run_folder,
    write_hashes,
)
from evaluation.summary import summarise
from inspect_compress.errors import EvidenceError
from inspect_compress.files import output_errors, write_file


@dataclass(frozen=True)
class MadeReport:
    """What was written: `pages` and `pdfs` in the order of the languages; `warnings`: what could not be made."""

    summary: dict[str, Any]
    summary_file: Path
    pages: tuple[Path, ...]
    pdfs: tuple[Path, ...]
    fingerprint: str
    warnings: tuple[str, ...]

    def moved(self, folder: Path) -> "MadeReport":
        """The same, its files in another folder."""
        return replace(
            self,
            summary_file=folder / self.summary_file.name,
            pages=tuple(folder / page.name for page in self.pages),
            pdfs=tuple(folder / pdf.name for pdf in self.pdfs),
        )


def remake_report(folder: Path, languages: Sequence[str], roi: Path | None) -> MadeReport:
    """`make_report`, once it is sure that nothing measured was changed; `roi` replaces the folder's roi.toml.

    Raises EvidenceError where a measured file is not the one that the run wrote, which is named.
    """
    read_run_folder(folder)
    recorded, found = read_hashes(folder), hash_folder(folder)
    for name in {**recorded.measured, **found.measured}:
        if recorded.measured.get(name) != found.measured.get(name):
            raise EvidenceError(
                f"{folder / name}: is not the file that the run wrote; restore it, or run the pilot again"
            )
    if roi:
        read_roi_settings(roi)
        write_file(folder / ROI, roi.read_bytes(), overwrite=True)
    return make_report(folder, languages)


def make_report(folder: Path, languages: Sequence[str]) -> MadeReport:
    """Make the report of a run in one language (`report.html`) or in two (`report.ja.html` as well).

    Pages of an earlier report go. Raises EvidenceError and ConfigError as `read_run_folder`, OutputError.
    """
    measured = read_run_folder(folder)
    evidence = gather(measured, hash_folder(folder))
    texts = [load_texts(language) for language in languages]
    summary = summarise(evidence, measured, texts[0])
    rendered = [render_report(evidence, each) for each in texts]
    with output_errors(folder):
        for name in DERIVED:
            (folder / name).unlink(missing_ok=True)
        write_file(folder / SUMMARY, json_bytes(summary))
        pages, pdfs, warnings = [], [], []
        browser = find_browser()
        for html, page, pdf in zip(rendered, (REPORT, JAPANESE), (PDF, JAPANESE_PDF), strict=False):
            write_file(folder / page, html.encode())
            pages.append(folder / page)
            problem = print_pdf(folder / page, folder / pdf, browser) if browser else None
            if problem:
                warnings.append(f"{pdf} was not made: {problem}; print {page} from a browser")
            elif browser:
                pdfs.append(folder / pdf)
        hashes = write_hashes(folder)
    return MadeReport(summary, folder / SUMMARY, tuple(pages), tuple(pdfs), hashes.fingerprint, tuple(warnings))
