"""The arguments and options that the commands on archives share, and what becomes of them. It runs nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable
from pipelines.engines import EngineName
from pipelines.judgement import Judgement

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipelines.archive.selection import Selection
    from pipelines.archive.table import Archive

Uri = Annotated[
    str,
    typer.Argument(help="The archive: a folder or an object store's URI.", metavar="URI", show_default=False),
]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Captured then or later: 2027-03-04, or with a time; UTC.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Captured before then.")]
Line = Annotated[str | None, typer.Option(help='Of this line; "" for frames of none.')]
Station = Annotated[str | None, typer.Option(help="Of this station.")]
Product = Annotated[str | None, typer.Option(help="Of this product.")]
Camera = Annotated[str | None, typer.Option(help="By this camera.")]
Codec = Annotated[str | None, typer.Option(help="Encoded by this codec.")]
Verdict = Annotated[Judgement | None, typer.Option(help="That detectors judged so in the end.")]
Detector = Annotated[str | None, typer.Option(help="The detector whose verdict counts, instead of any.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many, the earliest.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="FILE",
        help="The keys of an encrypted archive. [default: those of INSPECT_COMPRESS_KEYS in the environment]",
        show_default=False,
    ),
]
Engine = Annotated[
    EngineName,
    typer.Option(help="Where the work is done: a process per core of this machine, or Ray (docs/scale.md)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of text.")]
By = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who asked for this, for the record. [default: user@host]")
]


def opened(uri: str, keys: Path | None = None, *, create: bool = False) -> "Archive":
    """The archive, with the keys of a file or the environment. Raises InspectCompressError."""
    from pipelines.archive.table import Archive
    from pipelines.governance.encryption import keys_at_hand

    return Archive(uri, create=create, keys=keys_at_hand(keys))


def asked_by(name: str | None) -> str:
    """Who asked: the name that was given, else this process's user and machine."""
    from pipelines.governance.audit import who

    return name or who()


def selected(
    *,
    since: str | None = None,
    until: str | None = None,
    line: str | None = None,
    station: str | None = None,
    product: str | None = None,
    camera: str | None = None,
    codec: str | None = None,
    verdict: Judgement | None = None,
    detector: str | None = None,
    frame_ids: tuple[str, ...] = (),
) -> "Selection":
    """The selection that the options make. Raises ConfigError where one of them is not understood."""
    from pipelines.archive.selection import Selection, parse_time

    return Selection(
        since=parse_time(since, "--since") if since else None,
        until=parse_time(until, "--until") if until else None,
        line=line,
        station=station,
        product=product,
        camera=camera,
        codec=codec,
        frame_ids=frame_ids,
        verdict=verdict,
        detector=detector,
    )


def fail_for_files(damaged: "Collection[str]") -> None:
    """End with exit status 1 and a line for each file of the archive that could not be read, if there is one."""
    for reason in damaged:
        typer.echo(f"error: {printable(reason)}", err=True)
    if damaged:
        raise typer.Exit(1)
