"""The commands of floor 1: compress, decompress, info, train. What they do lives in the modules they call."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; see docs/training.md and training/default.toml.")],
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in the run's folder.")] = False,
) -> None:
    """Train QARV weights on folders of images.

    Example: `inspect-compress train training/default.toml`. The schedule is laid over the configuration's
    `minutes`; a run that was stopped goes on with `--resume`. It uses CUDA (bf16) where there is any.
    """
    from inspect_compress.progress import progress
    from inspect_compress.training.config import read_config
    from inspect_compress.training.loop import train as run

    settings = read_config(config)
    with progress() as bar:
        task = bar.add_task("training", total=1.0)

        def report(part: float, line: str) -> None:
            bar.console.print(line, highlight=False)
            bar.update(task, completed=part)

        weights = run(settings, resume=resume, report=report)
    typer.echo(f"weights: {weights}")
