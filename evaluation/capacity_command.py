"""The `capacity` command: cores, network and storage for a number of cameras. The arithmetic is in `capacity`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.errors import ConfigError

if TYPE_CHECKING:
    from evaluation.capacity import Capacity

MOST_FRAMES = 4
"""Frames of a folder that are timed, spread evenly over it."""


def capacity(
    frames: Annotated[
        Path | None,
        typer.Argument(
            metavar="FRAMES", help="A folder of your images; without it, a generated metal surface of 5 MP is timed."
        ),
    ] = None,
    cameras: Annotated[str, typer.Option(metavar="N,N,…", help="Numbers of cameras.")] = "1,10,100",
    megapixels: Annotated[float, typer.Option(min=0.01, help="Of each frame, mono.")] = 5,
    rate: Annotated[float, typer.Option(min=0.001, help="Frames a second of each camera.")] = 10,
    hours: Annotated[float, typer.Option(min=0.1, max=24, help="Hours of work a day, every day of the year.")] = 24,
    codec: Annotated[str, typer.Option(help="The codec.")] = "qarv",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Its quality.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Say what cameras need: processor cores, network, and storage a year.

    A frame is encoded, checked, and decoded once more, as a line does with every frame, and timed on this machine.

    For example, two shifts of 8 hours, on your own frames:

        inspect-compress capacity frames --cameras 1,4 --rate 5 --hours 16

    Exit status: 0 done, 1 a setting or an image cannot be used, 2 the call was not understood.
    """
    from evaluation.bench import evenly_spaced
    from evaluation.capacity import Line, measure, plan
    from inspect_compress.images import list_images, read_8_bit_image
    from inspect_compress.progress import progress

    counts = _counts(cameras)
    paths = evenly_spaced(list_images(frames), MOST_FRAMES) if frames else []
    with progress() as bar:
        task = bar.add_task("starting", total=None)
        images = [read_8_bit_image(path) for path in paths]
        cost = measure(codec, quality, images, lambda what: bar.update(task, description=what))
    result = plan(Line(megapixels, rate, hours), cost, counts)
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        _print(result)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise ConfigError(f"--cameras {text}: must be whole numbers from 1, with commas, like 1,10,100")
    return counts


def _print(result: "Capacity") -> None:
    from rich.console import Console
    from rich.table import Table

    from evaluation.capacity import USED

    line, cost = result.line, result.cost
    table = Table(
        title=f"{cost.codec} at quality {cost.quality}: {line.megapixels:g} MP, {line.frames_a_second:g} frames/s a "
        f"camera, {line.hours_a_day:g} hours a day"
    )
    headings = ("cameras", "frames/s", "cores", "from cameras", "to archive", "raw a year", "archive a year")
    for heading in headings:
        table.add_column(heading, justify="right")
    for need in result.needs:
        table.add_row(
            str(need.cameras),
            f"{need.frames_a_second:g}",
            str(need.cores),
            _rate(need.camera_mbit_s),
            _rate(need.archive_mbit_s),
            _bytes(need.raw_tb_a_year),
            _bytes(need.archive_tb_a_year),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"A core of this machine does {result.frames_a_second_a_core:.3g} frames/s: {cost.encode_seconds:.3g} s a "
        f"megapixel to encode and check, {cost.decode_seconds:.3g} s to read back; {cost.bits_a_pixel:.3g} bits a "
        f"pixel. Cores are used to {100 * USED:.0f} %, without the detector's own time. No GPU was measured.",
        soft_wrap=True,
    )


def _rate(mbit_s: float) -> str:
    return f"{mbit_s / 1000:.3g} Gbit/s" if mbit_s >= 1000 else f"{mbit_s:.3g} Mbit/s"


def _bytes(tb: float) -> str:
    return f"{tb / 1000:.3g} PB" if tb >= 1000 else f"{tb:.3g} TB"
