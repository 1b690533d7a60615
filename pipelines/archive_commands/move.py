"""The commands that put files into an archive and take them out: append and export."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable
from pipelines.archive_commands.options import (
    By,
    Camera,
    Codec,
    Detector,
    Json,
    KeyFile,
    Limit,
    Line,
    Product,
    Since,
    Station,
    Until,
    Uri,
    Verdict,
    asked_by,
    fail_for_files,
    opened,
    selected,
)

if TYPE_CHECKING:
    from pipelines.archive.export import Exported
    from pipelines.archive.intake import Appended


def append(
    uri: Annotated[
        str,
        typer.Argument(
            help="The archive: a folder or an object store's URI. It is made where there is none.",
            metavar="URI",
            show_default=False,
        ),
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(help="Images and .qarv files, or folders of them.", metavar="PATH...", show_default=False),
    ],
    codec: Annotated[str, typer.Option(help="The codec for images.")] = "qarv",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Its quality.")] = 60,
    line: Annotated[str, typer.Option(help="The line to note with each frame.")] = "",
    station: Annotated[str, typer.Option(help="The station to note.")] = "",
    product: Annotated[str, typer.Option(help="The product to note.")] = "",
    camera: Annotated[str, typer.Option(help="The camera to note.")] = "",
    keys: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Put image files into an archive, compressed and checked, and .qarv files as they are.

    What is stored already is left as it is, so that a call that was cut off is completed by repeating it. A frame's
    time is its file's time of modification. Of a `.qarv` file the original is not known: the picture that it holds
    stands for it.

    Example: `inspect-compress archive append archive frames/ --line line-1`

    Exit status: 0 done, 1 a file or the archive failed, 2 the call was not understood.
    """
    from inspect_compress.codecs import load_codec
    from pipelines.archive.intake import Origin, append_files, inputs
    from pipelines.governance.audit import AuditLog, who
    from pipelines.policy import Setting
    from pipelines.progress import Bars
    from pipelines.stages import Guard

    files, setting = inputs(paths), Setting(load_codec(codec), quality)
    archive = opened(uri, keys, create=True)
    origin = Origin(line, station, product, camera)
    with Bars() as bars:
        result = append_files(archive, files, origin, setting, Guard(load_codec("jxl")), track=bars.track)
    counts = {"files": result.files, "stored": result.stored, "failed": len(result.failures)}
    AuditLog(uri).append(
        "frames appended", by=who(), details=counts | {"codec": codec, "quality": quality, "line": line}
    )
    typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else _appended(result))
    if result.failures:
        raise typer.Exit(1)


def export(
    uri: Uri,
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="FOLDER", show_default=False)],
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
    payload: Annotated[
        bool, typer.Option("--payload", help="Write the stored files, such as .qarv, without decoding them.")
    ] = False,
    keys: KeyFile = None,
    by: By = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that exists.")] = False,
    as_json: Json = False,
) -> None:
    """Take frames out to a folder, as PNG or as they are stored, with an index of what each file is.

    The options select as those of `query` do. The export is noted in the audit log, with who asked for it.

    Example: `inspect-compress archive export archive out/ --since 2027-03-04 --until 2027-03-05 --verdict defective`

    Exit status: 0 done, 1 a frame is damaged or the export failed, 2 the call was not understood.
    """
    from pipelines.archive.export import Form
    from pipelines.archive.export import export as export_frames
    from pipelines.governance.audit import AuditLog
    from pipelines.progress import Bars

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
    archive, form = opened(uri, keys), Form.payload if payload else Form.png
    log, name = AuditLog(uri), asked_by(by)
    asked = {"selection": selection.to_dict(), "limit": limit, "form": form, "folder": str(folder.absolute())}
    log.append("export begun", by=name, details=asked)
    with Bars() as bars:
        result = export_frames(
            archive, selection, folder, form=form, limit=limit, overwrite=overwrite, track=bars.track
        )
    done = {"folder": asked["folder"], "files": result.files, "failed": len(result.failures)}
    log.append("export ended", by=name, details=done)
    typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else _exported(result))
    fail_for_files(result.damaged_files)
    if result.failures:
        raise typer.Exit(1)


def _appended(result: "Appended") -> str:
    lines = [
        f"{result.files} files: {result.stored} stored, {result.already_stored} already stored, "
        f"{len(result.failures)} failed"
    ]
    return "\n".join([*lines, *(printable(f"  {failure.error}") for failure in result.failures)])


def _exported(result: "Exported") -> str:
    lines = [f"{result.folder}: {result.files} files, {result.bytes:,} bytes; {len(result.failures)} failed"]
    failures = (f"  {key.frame_id} ({key.codec}, quality {key.quality}): {why}" for key, why in result.failures)
    return "\n".join([*lines, *map(printable, failures)])
