"""The `bench` command: codecs compared on a user's own images. The measuring is in `evaluation.bench`."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspect_compress.errors import ConfigError

if TYPE_CHECKING:
    from evaluation.bench import BenchResult

RESULT_FILE = "bench.json"
PLOT_FILE = "rd.png"
DEFAULT_CODECS = "qarv,jpeg,jpeg2000,webp,avif,jxl"
DEFAULT_ANCHOR = "jpeg"


def bench(
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET",
            help="A folder of images, a folder with a labels.csv, or a CSV file with a column `image` "
            "(and perhaps `split`). Use lossless originals: an image that was a JPEG before flatters JPEG.",
        ),
    ] = None,
    codecs: Annotated[
        str,
        typer.Option(metavar="A,B,…", help="Codecs to compare, by name. `png` is the lossless yardstick."),
    ] = DEFAULT_CODECS,
    qualities: Annotated[
        str | None,
        typer.Option(
            metavar="Q,Q,…",
            help="Qualities, 1 to 100, for all codecs alike. [default: a ladder for each codec that covers "
            "about 36 to 50 dB on smooth surfaces]",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use N images, spread evenly over the dataset.")
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(
            metavar="CODEC",
            help="The codec that BD-rates are measured against. [default: jpeg, or else the first codec]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="The rows to use where the CSV has a column `split`. [default: test]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"Write {RESULT_FILE} and the plot {PLOT_FILE} to this folder."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables, and nothing else.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results in --out.")] = False,
    halve: Annotated[
        bool,
        typer.Option(
            "--halve",
            help="Halve each image first, by means of 2×2 pixels: for images that were JPEG files before.",
        ),
    ] = False,
    rate_control: Annotated[
        bool,
        typer.Option(
            "--rate-control",
            help="Instead, measure how close QARV meets budgets and floors on DATASET, and in what time.",
        ),
    ] = False,
    speed: Annotated[
        bool,
        typer.Option(
            "--speed",
            help="Instead, time QARV from pixels to file and back, beside its authors' network; needs no DATASET.",
        ),
    ] = False,
) -> None:
    """Compare codecs on your images: file size, fidelity, speed and memory.

    For example, two codecs on 50 of your images, with a plot:

        inspect-compress bench frames --codecs qarv,jpeg --limit 50 --out bench

    **bpp** is bits per pixel of the real file. **PSNR** and **MS-SSIM** say how near the decoded image is;
    higher is better. **BD-rate** is how many percent more (+) or fewer (−) bits a codec needs than the
    anchor at equal PSNR. Each codec runs in a process of its own; the classical ones use one thread.

    Whether a detector still finds the defects is another question: see `inspect-compress pilot`.
    """
    if speed:
        _bench_speed(as_json=as_json)
        return
    if dataset is None:
        raise ConfigError("DATASET is missing; name a folder of images or a labels.csv")
    from evaluation.bench import evenly_spaced, ladder_of, run_bench
    from evaluation.halved import halved_copies
    from evaluation.image_paths import image_paths
    from inspect_compress.files import refuse_existing
    from inspect_compress.progress import progress

    names = _codecs(codecs)
    chosen_anchor = _anchor(anchor, names)
    ladder = _qualities(qualities)
    if out is not None:
        for name in (RESULT_FILE, PLOT_FILE):
            refuse_existing(out / name, overwrite=overwrite)
    paths = evenly_spaced(image_paths(dataset, split), limit)
    if rate_control:
        _bench_rate_control(paths, as_json=as_json)
        return
    ladders = dict.fromkeys(names, ladder) if ladder else {}
    bar = progress(counted=True)
    with bar, halved_copies(paths) if halve else nullcontext(paths) as paths:
        total = len(paths) * sum(len(ladders.get(name) or ladder_of(name)) for name in names)
        task = bar.add_task("starting", total=total)
        result = run_bench(
            paths,
            names,
            ladders,
            anchor=chosen_anchor,
            step=lambda codec: bar.update(task, advance=1, description=codec),
        )
    record = {**_origin(dataset, len(paths)), "halved": halve, **result.to_json()}
    if out is not None:
        _write(out, record, result, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
    else:
        _print(result, out)


def _bench_rate_control(paths: Sequence[Path], *, as_json: bool) -> None:
    from evaluation.rate_control import run_rate_control, to_json
    from inspect_compress.progress import progress

    bar = progress(counted=True)
    with bar:
        task = bar.add_task("meeting demands", total=len(paths))
        rows = run_rate_control(paths, lambda name: bar.update(task, advance=1))
    if as_json:
        typer.echo(json.dumps(to_json(rows), allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What was reached (the part of a budget, or the fidelity), and the time of a plain encoding")
    for heading in ("demand", "frames", "impossible", "at the end of λ", "mean", "least", "most", "times"):
        table.add_column(heading, justify="left" if heading == "demand" else "right")
    for row in rows:
        reached = ("–" if value is None else f"{value:.4g}" for value in (row.met, row.least, row.most, row.times))
        counts = (str(count) for count in (row.frames, row.impossible, row.at_the_end))
        table.add_row(row.demand, *counts, *reached)
    Console(highlight=False).print(table)
    times = [row.times for row in rows if row.times is not None]
    if times:
        typer.echo(f"On average {sum(times) / len(times):.2f} times a plain encoding.")


def _bench_speed(*, as_json: bool) -> None:
    from evaluation.speed import run_speed
    from inspect_compress.progress import progress

    bar = progress()
    with bar:
        task = bar.add_task("starting", total=None)
        result = run_speed(lambda what: bar.update(task, description=what))
    if as_json:
        typer.echo(json.dumps(result.to_json()))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Megapixels per second, {result.threads} threads, kernels: {result.kernels or 'none'}")
    for heading in ("what", "picture", "encode MP/s", "decode MP/s", "cores busy"):
        table.add_column(heading, justify="left" if heading in ("what", "picture") else "right")
    for row in result.rows:
        cores = f"{row.encode_cores:.1f} / {row.decode_cores:.1f}"
        table.add_row(row.what, row.size, f"{row.encode_mpx_s:.3g}", f"{row.decode_mpx_s:.3g}", cores)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"On the same picture QARV encodes {result.encode_times_faster:.1f} and decodes "
        f"{result.decode_times_faster:.1f} times as fast as its authors' network alone."
    )


def _codecs(text: str) -> list[str]:
    from inspect_compress.codecs import codec_names

    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ConfigError("--codecs names no codec; for example: --codecs qarv,jpeg")
    known = codec_names()
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown codec {name!r}; known: {', '.join(known)}")
    return names


def _anchor(anchor: str | None, names: Sequence[str]) -> str:
    if anchor is None:
        return DEFAULT_ANCHOR if DEFAULT_ANCHOR in names else names[0]
    if anchor not in names:
        raise ConfigError(f"--anchor {anchor}: is not among --codecs ({', '.join(names)}); add it there")
    return anchor


def _qualities(text: str | None) -> list[int]:
    from inspect_compress.codecs import check_quality

    if text is None:
        return []
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--qualities {text}: must be whole numbers with commas, like 20,50,80") from error
    return sorted({check_quality(value) for value in values})


def _origin(dataset: Path, images: int) -> dict[str, Any]:
    import os
    import platform
    from importlib.metadata import version

    packages = ("inspect-compress", "imagecodecs", "torch")
    return {
        "dataset": str(dataset),
        "images": images,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
    }


def _write(out: Path, record: dict[str, Any], result: "BenchResult", *, overwrite: bool) -> None:
    from evaluation.bench_plot import rd_plot
    from inspect_compress.files import write_file

    text = json.dumps(record, allow_nan=False, indent=1) + "\n"
    write_file(out / RESULT_FILE, text.encode(), overwrite=overwrite)
    write_file(out / PLOT_FILE, rd_plot(result), overwrite=overwrite)


def _print(result: "BenchResult", out: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_rows_table(result), _codec_table(result))
    for codec, bd in result.bd_rate.items():
        if bd.reason:
            console.print(f"No BD-rate for {codec}: {bd.reason}.", soft_wrap=True)
    exact = sorted({row.codec for row in result.rows if row.exact_images})
    if exact:
        console.print(f"Without any loss on some images, which PSNR leaves out: {', '.join(exact)}.")
    if out is not None:
        console.print(f"Written: {out / RESULT_FILE}, {out / PLOT_FILE}", soft_wrap=True)


def _rows_table(result: "BenchResult") -> Any:
    from rich.table import Table

    table = Table(title=f"Mean of {result.rows[0].images} images")
    for heading in ("codec", "quality", "bpp", "PSNR dB", "MS-SSIM", "encode MP/s", "decode MP/s"):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    for row, following in zip(result.rows, [*result.rows[1:], None], strict=True):
        table.add_row(
            row.codec,
            str(row.quality),
            f"{row.bpp:.3f}",
            f"{row.psnr:.2f}",
            f"{row.ms_ssim:.4f}",
            f"{row.encode_mpx_s:.3g}",
            f"{row.decode_mpx_s:.3g}",
            end_section=following is None or following.codec != row.codec,
        )
    return table


def _codec_table(result: "BenchResult") -> Any:
    from rich.table import Table

    table = Table(title=f"Against {result.anchor}", caption="Peak memory of a fresh process on the largest image")
    for heading in ("codec", "BD-rate %", "over PSNR dB", "added MB", "process MB"):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    for codec, memory in result.memory.items():
        bd = result.bd_rate.get(codec)
        span = bd.span if bd else None
        table.add_row(
            codec,
            "anchor" if bd is None else _number(bd.percent, "+.1f"),
            f"{span[0]:.1f}–{span[1]:.1f}" if span else "–",
            _number(memory.added_mb, ".0f"),
            _number(memory.process_mb, ".0f"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
