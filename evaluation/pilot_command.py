"""The `pilot` command: what compression does to a detector, on a user's own labelled frames."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Language(StrEnum):
    """The report's languages."""

    en = "en"
    ja = "ja"


def pilot(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="Labelled frames: a labels.csv (image,defect[,mask][,split][,group]; an empty defect is a "
            "good part), a folder that holds one, or MVTec-style folders (train/good, test/good, test/<defect>).",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder for report, tables and archive.")] = Path(
        "pilot"
    ),
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file with codecs, qualities, detectors, margins and seed."),
    ] = None,
    lang: Annotated[Language, typer.Option(help="The report's language.")] = Language.en,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR if it exists.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else.")
    ] = False,
) -> None:
    """Find out which bitrate your defect detector can live with, and write the report.

    For example:

        inspect-compress pilot frames --out pilot --lang en

    Two detectors are trained on your original frames. Then each codec at each quality encodes, stores and
    decodes the same test frames, and the detectors score them. **report.html** shows what became of recall
    and false alarms, and says which rate is safe; **summary.json** and **results.parquet** hold the figures.
    """
    from evaluation.pilot_config import PilotConfig, read_pilot_config
    from inspect_compress.files import refuse_existing
    from inspect_compress.progress import progress

    settings = read_pilot_config(config) if config else PilotConfig()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        refuse_existing(out, overwrite=overwrite)
    from evaluation.pilot import run_pilot  # slow to import, so only once the settings are known to be right

    with progress() as bar:
        labels = {"train": "training detectors", "measure": "encoding, storing, decoding, detecting"}
        tasks = {phase: bar.add_task(label, total=None, start=False) for phase, label in labels.items()}

        def step(phase: str, done: int, total: int) -> None:
            bar.start_task(tasks[phase])
            bar.update(tasks[phase], completed=done, total=total)

        result = run_pilot(dataset, out, settings, lang=lang.value, overwrite=overwrite, step=step)
    if as_json:
        typer.echo(result.summary_file.read_text(encoding="utf-8"), nl=False)
        return
    typer.echo(result.summary["decision"]["sentence"])
    typer.echo(f"report: {result.report}")
    typer.echo(f"summary: {result.summary_file}")
