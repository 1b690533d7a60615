"""The `report` command: a pilot's report made again after an assumption was changed, or checked."""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation.languages import Language

if TYPE_CHECKING:
    from evaluation.make_report import MadeReport
    from evaluation.verify import Verified


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a pilot.", show_default=False)],
    lang: Annotated[Language, typer.Option(help="The report's language; both: report.html and report.ja.html.")] = (
        Language.en
    ),
    roi: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The plant's prices; they replace DIR/roi.toml."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Change nothing; check the folder, and refuse a doctored result.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")
    ] = False,
) -> None:
    """Make a pilot's report again, or check it.

    Edit **DIR/roi.toml**, or the margins and alpha in **DIR/pilot.toml**, and make the report again; nothing is
    measured anew, so it takes seconds and needs neither the images nor a codec:

        inspect-compress report pilot --lang both

    **--verify** hashes every file again, and the dataset's images where they are; decodes some of the archive; and
    works out every figure anew from the tables. docs/report.md says what that proves, and what it does not.

    Exit status: 0 done, 1 the folder is not sound or cannot be used, 2 the call was not understood.
    """
    if verify:
        if roi:
            raise typer.BadParameter("--verify changes nothing; leave out --roi", param_hint="--roi")
        _verify(folder, as_json)
        return
    from evaluation.make_report import remake_report

    made = remake_report(folder, lang.languages, roi)
    tell(made, as_json=as_json, last=f"fingerprint: {made.fingerprint}")


def tell(made: "MadeReport", *, as_json: bool, last: str) -> None:
    """Print what was made: the summary as JSON and nothing else, or the decision, the files, and a last line."""
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        typer.echo(json.dumps(made.summary, ensure_ascii=False))
        return
    typer.echo(made.summary["decision"]["sentence"])
    for path in (*made.pages, *made.pdfs):
        typer.echo(f"report: {path}")
    typer.echo(last)


def _verify(folder: Path, as_json: bool) -> None:
    from evaluation.verify import first_and_more, verify
    from inspect_compress.errors import EvidenceError

    found = verify(folder, random.SystemRandom())
    if as_json:
        typer.echo(json.dumps(_facts(found), ensure_ascii=False))
    if found.problems and not as_json:
        raise EvidenceError(f"{folder}: {first_and_more(found.problems)}")
    if found.problems:
        raise typer.Exit(1)
    if not as_json:
        typer.echo(_text(found))


def _facts(found: "Verified") -> dict[str, object]:
    return {
        "sound": not found.problems,
        "problems": list(found.problems),
        "notes": list(found.notes),
        "fingerprint": found.fingerprint,
        "files": found.files,
        "images": found.images,
        "images_missing": found.images_missing,
        "decoded": found.decoded,
    }


def _text(found: "Verified") -> str:
    lines = [
        f"sound: {found.files} files and {found.images} of the dataset's files are as they were, {found.decoded} "
        "encoded frames measured the same again, and all figures follow from the tables",
        *(f"not checked: {note}" for note in found.notes),
        f"fingerprint: {found.fingerprint} (compare it with the one on the report that was signed)",
    ]
    return "\n".join(lines)
