"""The command `adapt`: decides which frames may be learned from. The training is in `inspect_compress.training`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inspect_compress.training.tiles import Frames

SEED = 0
"""Of the splits where the dataset names none: those of a pilot with its usual seed."""


def adapt(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A plant's frames: labelled as a pilot takes them, or a folder of images without labels.",
            show_default=False,
        ),
    ],
    minutes: Annotated[float, typer.Option(min=0.01, help="Time to train; export and measurements come on top.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder for weights, card and report.")] = Path(
        "adapted"
    ),
    base: Annotated[
        str, typer.Option(metavar="qarv|WEIGHTS", help="The shipped model, or float weights to go on from.")
    ] = "qarv",
    old: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Frames not to forget; without it, generated surfaces that are shipped."),
    ] = None,
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Terms of the frames, for the card.")] = "not stated",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the adaptation in DIR.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Fine-tune the codec to a plant's frames, and report what that gains and what is forgotten.

    For example:

        inspect-compress adapt frames --base qarv --minutes 60 --out adapted

    Of a labelled dataset only the train split is learned from, and the calibration split measured on: frames of the
    test split stay unseen for the pilot that has to judge the new model. Of other folders every fifth frame is held
    out. A part of the crops is of old frames, so that little of them is forgotten.

    It ends with exact weights, their card, and **report.md**: BD-rate against the base on new frames and on old ones.
    The report names the next steps: `models add`, and a pilot. When it is stopped, the same command with --resume
    goes on.
    """
    from inspect_compress.progress import progress
    from inspect_compress.training import adapt as work
    from inspect_compress.training.base import load_base

    start_from = load_base(base)
    if not resume:
        frames = frames_of(dataset)
        typer.echo(f"{len(frames.train)} frames to learn from, {len(frames.held_out)} to measure on", err=True)
        kept = frames_of(old) if old else work.reference_frames()
        work.start(frames, kept, start_from, minutes=minutes, licence=licence, out=out)
    with progress() as bar:
        task = bar.add_task("adapting", total=1.0)

        def report(part: float, line: str) -> None:
            bar.console.print(line, highlight=False)
            bar.update(task, completed=part)

        done = work.adapt(start_from, out, report=report)
    if as_json:
        typer.echo(json.dumps(json.loads((out / work.REPORT).read_text("utf-8"))))
        return
    typer.echo(f"new frames  {done.new.rate()} BD-rate against the base, {done.new.frames} held out")
    typer.echo(f"old frames  {done.old.rate()}, {done.old.frames} held out")
    typer.echo(f"weights     {done.weights}\nreport      {out / work.REPORT_TEXT}")


def frames_of(path: Path) -> "Frames":
    """What may be learned from: the train split of a labelled dataset, or most of a folder of images."""
    from inspect_compress.errors import DatasetError
    from inspect_compress.images import list_images
    from inspect_compress.training.tiles import Frames, divided
    from pipelines.datasets import read_dataset, split_dataset

    try:
        labelled = read_dataset(path)
    except DatasetError:
        if not path.is_dir() or (path / "labels.csv").exists():
            raise
        return divided(path.name, list_images(path))
    items = split_dataset(labelled, seed=SEED).items
    train, held_out = ([item.image for item in items if item.split == split] for split in ("train", "calibration"))
    return Frames(labelled.root.resolve().name, train, held_out)
