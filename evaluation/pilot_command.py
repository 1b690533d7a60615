"""The `pilot` command: what compression does to a detector, on a user's own labelled frames."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation.languages import Language
from evaluation.report_command import tell
from pipelines.engines import EngineName, load_engine

if TYPE_CHECKING:
    from evaluation.pilot_config import PilotConfig

PHASES = {
    "train": "training detectors",
    "retrain": "retraining detectors",
    "measure": "encoding, storing, decoding, detecting",
    "shifts": "the same under shifts",
}
"""What the steps of the work are called on the screen."""


def pilot(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="Labelled frames: a labels.csv (image,defect[,mask][,split][,group]; an empty defect is a "
            "good part), a folder that holds one, MVTec AD, VisA or ELPV as published, or a folder per class.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder for report, tables and archive.")] = Path(
        "pilot"
    ),
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file with codecs, qualities, detectors, margins and seed."),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE.onnx",
            help="A detector, in place of the settings'; the first carries the verdict. May be given several times.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FINGERPRINT", help="The installed model that the first codec encodes with."),
    ] = None,
    shifts: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES|all",
            help="Try hard conditions as well: exposure, blur, noise and others, separated by commas.",
        ),
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The plant's prices; without it, an example's, which the report says."),
    ] = None,
    lang: Annotated[Language, typer.Option(help="The report's language; both: report.html and report.ja.html.")] = (
        Language.en
    ),
    engine: Annotated[
        EngineName,
        typer.Option(help="Where frames are encoded: a process per core, or Ray (docs/scale.md). The figures agree."),
    ] = EngineName.local,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR if it exists.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else.")
    ] = False,
) -> None:
    """Find out which bitrate your defect detector can live with, and write the report.

    For example:

        inspect-compress pilot frames --out pilot --lang both

    Detectors are trained on your original frames. Then each codec at each quality encodes, stores and
    decodes the same test frames, and the detectors score them. **report.html** shows what became of recall
    and false alarms, and says which rate is safe; docs/report.md describes the other files.

    When it is interrupted or killed, the same command goes on where it was.
    """
    from evaluation.pilot_config import PilotConfig, read_pilot_config
    from evaluation.roi_config import read_roi_settings
    from inspect_compress.files import refuse_existing, resumable_name
    from inspect_compress.progress import progress

    settings = _with_options(read_pilot_config(config) if config else PilotConfig(), detector, model, shifts)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        refuse_existing(out, overwrite=overwrite)
    if roi:
        read_roi_settings(roi)
    from evaluation.pilot import PilotRequest, run_pilot  # slow to import, so only once the settings are right

    command = shlex.join(["inspect-compress", *sys.argv[1:]])
    request = PilotRequest(dataset, out, settings, roi, lang.languages, command, overwrite, load_engine(engine))
    with progress() as bar:
        tasks = {
            phase: bar.add_task(label, total=None, start=False, visible=False) for phase, label in PHASES.items()
        }

        def step(phase: str, done: int, total: int) -> None:
            bar.start_task(tasks[phase])
            bar.update(tasks[phase], completed=done, total=total, visible=True)

        try:
            made = run_pilot(request, step=step, say=lambda line: typer.echo(line, err=True))
        except KeyboardInterrupt:
            typer.echo(
                f"interrupted; what was measured is in {resumable_name(out)}, and the same command goes on from it",
                err=True,
            )
            raise typer.Exit(130) from None
    tell(made, as_json=as_json, last=f"summary: {made.summary_file}")


def _with_options(
    settings: "PilotConfig", detectors: list[str] | None, model: str | None, shifts: str | None
) -> "PilotConfig":
    """The settings with what the command line says instead; detectors' files by their whole paths."""
    from evaluation.pilot_config import PilotConfig
    from evaluation.shifts import SHIFTS
    from inspect_compress.settings import checked_settings

    values = settings.model_dump()
    if detectors:
        values["detectors"] = detectors
    if model is not None:
        values["model"] = model
    if shifts is not None:
        values["shifts"] = list(SHIFTS) if shifts == "all" else [name.strip() for name in shifts.split(",")]
    return checked_settings(values, PilotConfig, "command line", Path.cwd())
