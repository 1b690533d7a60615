"""The command `archive reencode`. Its work is done in `reencoding`; here are its options and what it prints."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable
from pipelines.archive_commands.options import Engine, Json, KeyFile, Uri
from pipelines.engines import EngineName, load_engine

if TYPE_CHECKING:
    from pipelines.reencoding import Reencoded


def reencode(
    uri: Uri,
    to: Annotated[
        str,
        typer.Option("--to", help="The archive to write: a new one, or one to go on with.", metavar="URI"),
    ],
    quality: Annotated[int, typer.Option(min=1, max=100, help="The new quality.")],
    codec: Annotated[str, typer.Option(help="The new codec, by name.")] = "qarv",
    model: Annotated[
        str, typer.Option(metavar="FINGERPRINT", help="The model to encode with; the codec's own without it.")
    ] = "",
    engine: Engine = EngineName.local,
    keys: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Encode an archive's frames again, into another archive, with another codec, model or quality.

    Each frame is decoded, checked against the hash that was stored with it, encoded, decoded again and compared,
    as `run` does; with keys, the new frames are encrypted. The first archive is left as it is. Run again, the
    command goes on where it was.

    The new frames are made from what the first archive holds: their PSNR is measured against that, and not against
    what the camera saw.

    Example: `inspect-compress archive reencode archive --to archive-q40 --quality 40`

    Exit status: 0 done, 1 a frame failed or an archive cannot be used, 2 the call was not understood.
    """
    from pipelines.progress import Bars
    from pipelines.reencoding import Reencoding, reencode_archive

    asked = Reencoding(uri, to, codec, quality, model, keys)
    with Bars() as bars:
        done = reencode_archive(asked, load_engine(engine), track=bars.track)
    typer.echo(json.dumps(done.to_dict(), ensure_ascii=False) if as_json else _text(done))
    if done.failures:
        raise typer.Exit(1)


def _text(done: "Reencoded") -> str:
    lines = [
        f"frames      {done.frames} encoded, {done.already_stored} stored already, {done.fallbacks} fell back, "
        f"{len(done.failures)} failed",
        f"bytes       {done.bytes_before:,} before, {done.bytes_after:,} after",
    ]
    lines += [
        f"  {failure.key.frame_id if failure.key else failure.file}: {failure.reason}" for failure in done.failures
    ]
    return "\n".join(map(printable, lines))
