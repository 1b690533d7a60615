"""The command `run`. Its work is done in `pipelines.runner`; here are its options and what it prints."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable

if TYPE_CHECKING:
    from pipelines.runner import LineResult


def run(
    config: Annotated[Path, typer.Argument(help="The line's TOML file.", metavar="CONFIG.toml", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output instead of text.")
    ] = False,
) -> None:
    """Run a line: capture, compress, store, read back, decode, detect.

    Takes each image of a folder, compresses it, decodes the file and compares it, commits it to the archive, reads
    it back from there, decodes it and lets the detector judge it. Running it again stores nothing twice, so a run
    that was cut off, in whatever way, is completed by running it again.

    It ends with the last image of the folder; with `follow = true`, and with a camera, only when it is asked to, by
    Ctrl+C or SIGTERM. It does so within 10 seconds, and loses nothing.

    The smallest **line.toml** (paths are relative to the file; `examples/line.toml` and `examples/policy.toml`
    explain the keys):

        [source]
        kind = "folder"
        path = "frames"

        [archive]
        uri = "archive"

    Example: `inspect-compress run line.toml --json > result.json`

    Exit status: 0 done, or ended as asked; 1 a frame or the run failed, or a folder was not finished; 2 the call was
    not understood.
    """
    import threading

    from pipelines.config import read_config
    from pipelines.drift.observer import watched_for_drift
    from pipelines.flow.signals import ended_by_signals
    from pipelines.observe import observers_for
    from pipelines.observe.notices import notice
    from pipelines.progress import Bars
    from pipelines.runner import run_line

    settings = read_config(config)
    stop = threading.Event()
    with ended_by_signals(stop), Bars() as bars, observers_for(settings) as observers:
        told = watched_for_drift(settings, observers if settings.logs else [*observers, notice])
        result = run_line(settings, observers=told, stop=stop, track=bars.track)
    typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False) if as_json else _text(result))
    if not result.complete:
        raise typer.Exit(1)


def _text(result: "LineResult") -> str:
    from pipelines.flow.commands import balance_in_words

    counts = f"{result.captured} captured, {result.stored} stored, {result.already_stored} already stored"
    lines = [
        f"frames      {counts}, {result.failed} failed",
        f"bytes       {_bytes(result.source_bytes)} in files, {_bytes(result.raw_bytes)} as raw pixels, "
        f"{_bytes(result.stored_bytes)} in the archive",
        f"saved       {_saved(result.source_bytes, result.stored_bytes)} of the files, "
        f"{_saved(result.raw_bytes, result.stored_bytes)} of the raw pixels",
        f"fidelity    {_fidelity(result)}",
        f"archive     {result.archive}",
        f"ledger      {balance_in_words(result.ledger)}",
    ]
    if len(result.rules) > 1:
        lines.append("rules       " + ", ".join(f"{count} {rule}" for rule, count in result.rules.items()))
    if result.threshold is not None:
        defective = [verdict for verdict in result.verdicts if verdict.defective]
        lines.append(
            f"detections  {len(defective)} of {len(result.verdicts)} defective "
            f"(score at or above {result.threshold:.4g})"
        )
        lines += [f"  {verdict.score:10.4g}  {verdict.image}" for verdict in defective]
    if result.fallbacks:
        lines.append("fell back")
        lines += [f"  {f.image}: stored by {f.codec} at quality {f.quality}; {f.reason}" for f in result.fallbacks]
    if result.interrupted and not result.followed:
        lines.append("ended before the source did; run again for the rest")
    if result.failures:
        lines.append("failed")
        lines += [f"  {failure.image}: {failure.error}" for failure in result.failures]
    return printable("\n".join(lines))


def _fidelity(result: "LineResult") -> str:
    if result.mean_psnr is not None:
        return f"{result.mean_psnr:.2f} dB mean PSNR"
    return "every frame is equal to its original" if result.stored_bytes else "no frames"


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:.3g} TB"


def _saved(before: int, after: int) -> str:
    return f"{100 * (1 - after / before):.1f} %" if before else "–"
