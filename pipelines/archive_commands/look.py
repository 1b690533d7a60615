"""The commands that read an archive: query, get, verify, stats. Their work is done in `pipelines.archive`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable
from pipelines.archive_commands.options import (
    Camera,
    Codec,
    Detector,
    Engine,
    Json,
    JsonLines,
    KeyFile,
    Limit,
    Line,
    Product,
    Since,
    Station,
    Until,
    Uri,
    Verdict,
    fail_for_files,
    opened,
    selected,
)
from pipelines.engines import EngineName, load_engine

if TYPE_CHECKING:
    from pipelines.archive.selection import Found
    from pipelines.archive.stats import Amount, Stats
    from pipelines.archive.verification import Verification


def query(
    uri: Uri,
    since: Since = None,
    until: Until = None,
    line: Line = None,
    station: Station = None,
    product: Product = None,
    camera: Camera = None,
    codec: Codec = None,
    verdict: Verdict = None,
    detector: Detector = None,
    limit: Limit = None,
    as_json: JsonLines = False,
) -> None:
    """List frames by time, place, product and verdict, in the order of their capture.

    Example: `inspect-compress archive query archive --since 2027-03-04 --line line-1 --verdict defective --json`

    With `--json` each line has all columns of `docs/archive.md` but the payload, and the frame's verdicts.

    A damaged file of the archive is named, and the others are read.

    Exit status: 0 done, 1 the archive or a part of it cannot be read, 2 the call was not understood.
    """
    from pipelines.archive.selection import find

    selection = selected(
        since=since,
        until=until,
        line=line,
        station=station,
        product=product,
        camera=camera,
        codec=codec,
        verdict=verdict,
        detector=detector,
    )
    damaged: list[str] = []
    archive = opened(uri)
    for found in find(archive, selection, limit=limit, on_damaged_file=lambda _, error: damaged.append(str(error))):
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else _line(found))
    fail_for_files(damaged)


def get(
    uri: Uri,
    frame_id: Annotated[str, typer.Argument(help="The frame, as `query` names it.", metavar="FRAME")],
    target: Annotated[
        Path, typer.Argument(help="The file to write: a picture as .png, or the payload itself.", metavar="FILE")
    ],
    codec: Codec = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Encoded at this quality.")] = None,
    payload: Annotated[
        bool, typer.Option("--payload", help="Write the stored file itself, such as a .qarv, without decoding it.")
    ] = False,
    keys: KeyFile = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Take one frame out, as PNG or as the file that is stored.

    A frame that is stored more than once, by several codecs or at several qualities, needs `--codec` or `--quality`.

    Example: `inspect-compress archive get archive 4f0c… part.png`

    Exit status: 0 done, 1 there is no such frame or it is damaged, 2 the call was not understood.
    """
    from pipelines.archive.export import take_out

    record = take_out(opened(uri, keys), frame_id, target, codec, quality, payload=payload, overwrite=overwrite)
    typer.echo(f"{target}: frame {record.frame_id}, {record.codec} at quality {record.quality}")


def verify(uri: Uri, engine: Engine = EngineName.local, keys: KeyFile = None, as_json: Json = False) -> None:
    """Check every row: its bytes, its model, that it decodes, and that the picture is the one that was stored.

    Damaged rows and files are named, and the others are checked. The rows of an encrypted archive need its keys.

    Example: `inspect-compress archive verify archive --json`

    Exit status: 0 every row is sound, 1 one is not or the archive cannot be read, 2 the call was not understood.
    """
    from pipelines.archive.verification import verify_archive
    from pipelines.progress import Bars

    with Bars() as bars:
        result = verify_archive(uri, load_engine(engine), keys=keys, track=bars.track)
    typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else _verified(result))
    if not result.is_sound:
        raise typer.Exit(1)


def stats(uri: Uri, as_json: Json = False) -> None:
    """Say how much the archive holds: in all, and by codec, model, quality, line and month.

    Example: `inspect-compress archive stats archive`

    A damaged file of the archive is named, and the others are read.

    Exit status: 0 done, 1 the archive or a part of it cannot be read, 2 the call was not understood.
    """
    from pipelines.archive.stats import stats_of

    damaged: list[str] = []
    result = stats_of(opened(uri), on_damaged_file=lambda _, error: damaged.append(str(error)))
    typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else _summed(result))
    fail_for_files(damaged)


def _line(found: "Found") -> str:
    row = found.row
    origin = "/".join(row[name] or "-" for name in ("line", "station", "product", "camera"))
    verdicts = ", ".join(
        f"{v.detector} {v.score:.4g} {'defective' if v.defective else 'good'}" for v in found.verdicts
    )
    fidelity = "lossless" if row["psnr"] is None else f"{row['psnr']:.2f} dB"
    facts = [row["captured_at"].isoformat(timespec="milliseconds"), row["frame_id"], origin]
    facts += [f"{row['codec']} {row['quality']}", f"{row['bytes']} B", fidelity, verdicts or "-"]
    return printable("  ".join(facts))


def _verified(result: "Verification") -> str:
    bad = len({unsound.key for unsound in result.unsound})
    lines = [f"rows    {result.rows} checked, {result.rows - bad} sound, {bad} not"]
    lines += [f"  {u.key.frame_id} ({u.key.codec}, quality {u.key.quality}): {u.reason}" for u in result.unsound]
    if result.damaged_files:
        lines.append(f"files   {len(result.damaged_files)} damaged; restore them from a copy of the archive")
        lines += [f"  {file.reason}" for file in result.damaged_files]
    return "\n".join(map(printable, lines))


def _summed(result: "Stats") -> str:
    lines = [f"archive  {result.uri}", f"frames   {_amount(result.total)}"]
    if result.first:
        lines.append(f"captured {result.first} to {result.last}")
    for group, amounts in result.by.items():
        lines.append(f"by {group}")
        width = max(map(len, amounts), default=0)
        lines += [f"  {value or '-':<{max(width, 1)}}  {_amount(amount)}" for value, amount in amounts.items()]
    return "\n".join(map(printable, lines))


def _amount(amount: "Amount") -> str:
    saved = f", {100 * (1 - amount.bytes / amount.raw_bytes):.1f} % saved" if amount.raw_bytes else ""
    return f"{amount.frames} frames, {amount.bytes:,} bytes; {amount.raw_bytes:,} as raw pixels{saved}"
