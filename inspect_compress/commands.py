"""The commands of floor 1: compress, decompress, info, explain, train, export. What they do lives elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from inspect_compress.batch import Job

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def compress(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images (taken as a whole).")],
    target: Annotated[Path, typer.Argument(help="The file, or the folder, to write.")],
    quality: Annotated[int, typer.Option(help="1 (smallest) to 100 (best).")] = 60,
    codec: Annotated[str, typer.Option(help="qarv, jpeg, jpeg2000, webp, avif, jxl or png.")] = "qarv",
    overwrite: Overwrite = False,
) -> None:
    """Compress an image, or every image of a folder.

    Examples: `inspect-compress compress part.png part.qarv --quality 70`,
    `inspect-compress compress frames/ archive/ --codec jxl`.
    In a folder every image is tried; what failed is listed at the end, and the exit status is then 1.
    """
    from functools import partial

    from inspect_compress.batch import compress_file, compress_jobs
    from inspect_compress.codecs import load_codec

    coder = load_codec(codec)
    convert = partial(compress_file, codec=coder, quality=quality, overwrite=overwrite)
    _convert(compress_jobs(source, target, coder), convert, "compressing")


def decompress(
    source: Annotated[Path, typer.Argument(help="A compressed file, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="The PNG file, or the folder, to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Decode a compressed file, or every one of a folder, to PNG.

    Examples: `inspect-compress decompress part.qarv part.png`, `inspect-compress decompress archive/ frames/`.
    The codec is known by the file name's suffix.
    """
    from functools import partial

    from inspect_compress.batch import decompress_file, decompress_jobs

    _convert(decompress_jobs(source, target), partial(decompress_file, overwrite=overwrite), "decoding")


def info(
    file: Annotated[Path, typer.Argument(help="A .qarv file.")],
    as_json: Json = False,
) -> None:
    """Show what a .qarv file says of itself: size, λ, model, bytes of each level.

    Example: `inspect-compress info part.qarv --json`
    """
    from inspect_compress.qarv.describe import describe

    _print_facts(describe(file), as_json=as_json)


def explain(
    file: Annotated[Path, typer.Argument(help="A .qarv file.")],
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="The picture to draw.")] = None,
    original: Annotated[
        Path | None, typer.Option(metavar="IMG", help="The image that the file was made from: shows what was cut.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Show where the bits of a .qarv file went and, with the original, what was cut.

    Example: `inspect-compress explain part.qarv --original part.png --out part-explained.png`.
    The PNG has the decoded frame, the map of its bits per pixel, the map of its errors, and the bytes of each level,
    coarse structure first. The numbers are printed, with or without `--out`.
    """
    from inspect_compress.batch import check_png_target
    from inspect_compress.images import write_png
    from inspect_compress.qarv.explain import explain as account

    if out:
        check_png_target(out, overwrite=overwrite)
    explanation = account(file, original)
    if out:
        from inspect_compress.qarv.explain_plot import explain_plot

        write_png(out, explain_plot(explanation), overwrite=overwrite)
    _print_facts(explanation.facts(), as_json=as_json)


def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; see docs/training.md and training/default.toml.")],
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in the run's folder.")] = False,
    init_from: Annotated[
        Path | None, typer.Option(metavar="WEIGHTS", help="Start from this weight file instead of a new network.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Lay the schedule over this time instead of the file's `minutes`.")
    ] = None,
) -> None:
    """Train QARV weights on folders of images.

    Example: `inspect-compress train training/default.toml`. The schedule is laid over `minutes`, and ends with
    a weight file and its model card; a run that was stopped goes on with `--resume`. It uses CUDA (bf16) where
    there is any.
    """
    from inspect_compress.progress import progress
    from inspect_compress.training.config import read_config
    from inspect_compress.training.loop import train as run

    settings = read_config(config)
    settings = settings.model_copy(
        update={"init_from": init_from or settings.init_from, "minutes": minutes or settings.minutes}
    )
    with progress() as bar:
        task = bar.add_task("training", total=1.0)

        def report(part: float, line: str) -> None:
            bar.console.print(line, highlight=False)
            bar.update(task, completed=part)

        weights = run(settings, resume=resume, report=report)
    typer.echo(f"weights: {weights}")


def export(
    weights: Annotated[Path, typer.Argument(help="The .safetensors file that a training run wrote.")],
    config: Annotated[Path, typer.Argument(help="The run's TOML file: its training images set the scales.")],
    out: Annotated[Path, typer.Option(help="Folder for the exact weights and their card.")] = Path("."),
) -> None:
    """Turn trained weights into exact ones: integers, which every machine decodes alike.

    Example: `inspect-compress export runs/default/qarv-….safetensors training/default.toml`. It proves from the
    integers that no sum can leave what is computed exactly, and measures what exactness costs on the images that
    the run held out.
    """
    from inspect_compress.progress import progress
    from inspect_compress.training.config import read_config
    from inspect_compress.training.export import export_weights

    with progress() as bar:
        bar.add_task("exporting", total=None)
        named = export_weights(
            weights, read_config(config), out, lambda line: bar.console.print(line, highlight=False)
        )
    typer.echo(f"weights: {named}")


def _print_facts(facts: "dict[str, Any]", *, as_json: bool) -> None:
    """Print what is known of a file: as a table, its levels last, or as JSON."""
    import json

    from rich.console import Console
    from rich.table import Table

    if as_json:
        typer.echo(json.dumps(facts, allow_nan=False))
        return
    table = Table(show_header=False)
    for key, value in facts.items():
        if key != "levels":
            table.add_row(key, str(value))
    for level in facts["levels"]:
        table.add_row(f"level of stride {level['stride']}", f"{level['bytes']} bytes")
    Console().print(table)


def _convert(jobs: "Sequence[Job]", convert: "Callable[[Job], None]", verb: str) -> None:
    """Run the jobs with a progress bar, print the sums, list the failures, and exit with 1 if there were any."""
    from inspect_compress.batch import run_jobs
    from inspect_compress.progress import progress

    with progress(counted=True) as bar:
        results = list(bar.track(run_jobs(jobs, convert), total=len(jobs), description=verb))
    failed = sorted(result.error for result in results if result.error)
    bytes_in, bytes_out = (sum(getattr(r, name) for r in results) for name in ("bytes_in", "bytes_out"))
    typer.echo(f"{len(results) - len(failed)} of {len(results)} done: {bytes_in:,} bytes in, {bytes_out:,} bytes out")
    for reason in failed:
        typer.echo(f"error: {reason}", err=True)
    if failed:
        raise typer.Exit(1)
