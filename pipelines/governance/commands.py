"""The commands `audit` and `keys`: what they ask for and what they print. Their work is done beside them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable

if TYPE_CHECKING:
    from pipelines.governance.audit import AuditLog

audit = typer.Typer(
    help="Show and check the log of what was done: runs, exports, expiries, changes of models and keys.",
    no_args_is_help=True,
)
keys = typer.Typer(help="Make keys, with which an archive's payloads are encrypted.", no_args_is_help=True)

Place = Annotated[
    str,
    typer.Argument(
        help="The archive or the registry of models: a folder or an object store's URI.",
        metavar="URI",
        show_default=False,
    ),
]


@audit.command("list")
def audit_list(
    uri: Place,
    as_json: Annotated[bool, typer.Option("--json", help="Print each entry as one line of JSON.")] = False,
) -> None:
    """Print the entries, oldest first: number, time, who, what, and the details.

    Example: `inspect-compress audit list archive`

    Exit status: 0 done, 1 there is no log or an entry cannot be read, 2 the call was not understood.
    """
    from dataclasses import asdict

    for entry in _log(uri).entries():
        if as_json:
            typer.echo(json.dumps(asdict(entry), ensure_ascii=False))
        else:
            details = json.dumps(entry.details, ensure_ascii=False)
            typer.echo(printable(f"{entry.number:>6}  {entry.at}  {entry.by}  {entry.action}  {details}"))


@audit.command("verify")
def audit_verify(
    uri: Place,
    head: Annotated[
        str | None,
        typer.Option(
            help="Where the log ended at an earlier check, as that printed it: finds entries cut off at the end.",
            metavar="NUMBER:SHA256",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Check that no entry was changed, removed, inserted or moved, and print where the log ends.

    Each entry holds the SHA-256 of the one before. What was cut off at the end leaves no gap: keep the head that is
    printed in another place, and give it to the next check by `--head`.

    Example: `inspect-compress audit verify archive --head 41:8c1f…`

    Exit status: 0 the log is sound, 1 it is not, or there is none, 2 the call was not understood.
    """
    from pipelines.progress import Bars

    log = _log(uri)
    with Bars() as bars:
        problems = log.verify(head, track=bars.track)
    end = log.head()
    if as_json:
        typer.echo(json.dumps({"sound": not problems, "head": end, "problems": problems}, ensure_ascii=False))
    else:
        lines = [printable(problem) for problem in problems] or ["every entry is as it was written, and in its place"]
        typer.echo("\n".join([*lines, f"head {end}"]))
    if problems:
        raise typer.Exit(1)


@keys.command("new")
def keys_new(
    file: Annotated[
        Path, typer.Argument(help="The key file; made where it is not there.", metavar="KEYFILE", show_default=False)
    ],
    key_id: Annotated[
        str, typer.Option("--id", help="The key's name, which stands in each row.", metavar="ID", show_default=False)
    ],
) -> None:
    """Make a key at random and add it to a key file, as the one that new payloads are encrypted with.

    The keys that are there stay: older rows need them. Whoever has the file can read the archive, and without it
    nobody can: keep a copy of it apart from the archive.

    Example: `inspect-compress keys new keys.toml --id 2027`

    Exit status: 0 done, 1 it could not be done, 2 the call was not understood.
    """
    from pipelines.governance.encryption import add_new_key

    add_new_key(file, key_id)
    typer.echo(f"{file}: key {key_id} is there, and new payloads are encrypted with it; keep a copy in another place")


def _log(uri: str) -> "AuditLog":
    """The log at `uri`. Raises AuditError where there is none: a mistyped place must not pass as sound."""
    from inspect_compress.errors import AuditError
    from pipelines.governance.audit import AuditLog

    log = AuditLog(uri)
    if not log.exists():
        raise AuditError(f"{uri}: there is no audit log here")
    return log
