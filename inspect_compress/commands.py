"""The commands of floor 1: compress, decompress, info, explain, train, export. What they do lives elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from inspect_compress.batch import Job, Written

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def compress(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images (taken as a whole).")],
    target: Annotated[Path, typer.Argument(help="The file, or the folder, to write.")],
    quality: Annotated[
        int | None, typer.Option(help="1 (smallest) to 100 (best). [default: 60, where nothing else is asked for]")
    ] = None,
    bpp: Annotated[float | None, typer.Option(help="At most so many bits for each pixel.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="At most so many bytes for each file.")] = None,
    min_psnr: Annotated[float | None, typer.Option(help="The smallest file with at least this PSNR, in dB.")] = None,
    min_ms_ssim: Annotated[
        float | None, typer.Option(help="The smallest file with at least this MS-SSIM, under 1.")
    ] = None,
    priority: Annotated[
        Path | None,
        typer.Option(
            metavar="MASK",
            help="Regions that keep more: an 8-bit grey image of the frame's size, 0 background to 255 region; for "
            "a folder of frames one for all, or a folder with one of each frame's name.",
        ),
    ] = None,
    priority_from: Annotated[
        str | None,
        typer.Option(metavar="DETECTOR", help="Regions where this detector finds a frame strange, such as anomaly."),
    ] = None,
    good_frames: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Good frames that the detector of --priority-from learns.")
    ] = None,
    background_quality: Annotated[int, typer.Option(help="Quality outside the regions.")] = 30,
    priority_quality: Annotated[int, typer.Option(help="Quality inside the regions.")] = 80,
    codec: Annotated[str, typer.Option(help="qarv, jpeg, jpeg2000, webp, avif, jxl or png.")] = "qarv",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Decode each file before it is written, and compare; what fails is tried at higher quality, and "
            "in the end written as lossless PNG.",
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Compress an image, or every image of a folder.

    Examples: by quality; to a size; to a fidelity; with regions that keep more:

        inspect-compress compress part.png part.qarv --quality 70

        inspect-compress compress part.png part.qarv --max-bytes 20000

        inspect-compress compress frames/ archive/ --min-psnr 42 --verify

        inspect-compress compress part.png part.qarv --priority mask.png

        inspect-compress compress frames/ archive/ --priority-from anomaly --good-frames good/

    Ask for one of quality, bpp, max-bytes, min-psnr and min-ms-ssim, or for priority; all but quality need the codec
    qarv. Priority with a size keeps the difference between its two qualities, and moves both to what fits. A frame
    in which the detector finds nothing strange is of background quality.

    In a folder every image is tried; what failed is listed at the end, and the exit status is then 1.
    """
    from functools import partial

    from inspect_compress.batch import compress_file, compress_jobs
    from inspect_compress.codecs import load_codec
    from inspect_compress.demand import Demand, Priority
    from inspect_compress.priority import mask_source

    mask_of = mask_source(source, priority, priority_from, good_frames)
    alike = quality is bpp is max_bytes is min_psnr is min_ms_ssim is None

    def demand_for(path: Path) -> Demand:
        mask = mask_of(path)
        region = None if mask is None else Priority(mask, background_quality, priority_quality)
        default = background_quality if priority_from else 60
        wished = default if alike and region is None else quality
        return Demand(wished, bpp, max_bytes, min_psnr, min_ms_ssim, region)

    coder = load_codec(codec)
    convert = partial(compress_file, codec=coder, demand_for=demand_for, verify=verify, overwrite=overwrite)
    _convert(compress_jobs(source, target, coder), convert, "compressing")


def decompress(
    source: Annotated[Path, typer.Argument(help="A compressed file, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="The PNG file, or the folder, to write.")],
    levels: Annotated[
        int | None,
        typer.Option(help="A preview from the first 1 or 2 levels of a .qarv file, which may end after them."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Decode a compressed file, or every one of a folder, to PNG.

    Examples: `inspect-compress decompress part.qarv part.png`, `inspect-compress decompress archive/ frames/`.
    The codec is known by the file name's suffix.
    """
    from functools import partial

    from inspect_compress.batch import decompress_file, decompress_jobs

    _convert(
        decompress_jobs(source, target), partial(decompress_file, overwrite=overwrite, levels=levels), "decoding"
    )


def info(
    file: Annotated[Path, typer.Argument(help="A .qarv file.")],
    as_json: Json = False,
) -> None:
    """Show what a .qarv file says of itself: size, λ, model, bytes of each level, and what a preview needs.

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


def preview(
    file: Annotated[Path, typer.Argument(help="A .qarv file, of which perhaps only the beginning has arrived.")],
    target: Annotated[Path, typer.Argument(help="The PNG file to write; it is replaced by each better preview.")],
    wait: Annotated[float, typer.Option(min=0, help="Go on while bytes arrive, at most so many seconds apart.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Show a frame while its file still arrives: its coarse levels first.

    Example: `inspect-compress preview part.qarv part.png --wait 10`. The exit status is 1 where the file is damaged,
    or ends before its first level does; a file that ends later leaves the last preview and a line that says so.
    """
    from inspect_compress.batch import write_previews

    for line in write_previews(file, target, wait=wait, overwrite=overwrite):
        typer.echo(line)


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
    for number, level in enumerate(facts["levels"], 1):
        size = f"{level['bytes']} bytes"
        if "preview_bytes" in level:
            size += f"; the first {level['preview_bytes']} bytes of the file are a preview"
        table.add_row(f"level {number}, of stride {level['stride']}", size)
    Console().print(table)


def _convert(jobs: "Sequence[Job]", convert: "Callable[[Job], Written]", verb: str) -> None:
    """Run the jobs with a progress bar, print the sums, list the failures, and exit with 1 if there were any."""
    from inspect_compress.batch import run_jobs
    from inspect_compress.progress import progress

    with progress(counted=True) as bar:
        results = list(bar.track(run_jobs(jobs, convert), total=len(jobs), description=verb))
    failed = sorted(result.error for result in results if result.error)
    bytes_in, bytes_out = (sum(getattr(r, name) for r in results) for name in ("bytes_in", "bytes_out"))
    typer.echo(f"{len(results) - len(failed)} of {len(results)} done: {bytes_in:,} bytes in, {bytes_out:,} bytes out")
    for note in sorted(result.note for result in results if result.note):
        typer.echo(f"note: {note}", err=True)
    for reason in failed:
        typer.echo(f"error: {reason}", err=True)
    if failed:
        raise typer.Exit(1)
