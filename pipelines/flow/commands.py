"""The command `ledger`. What it prints is kept by `pipelines.flow.ledger`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable

if TYPE_CHECKING:
    from pipelines.flow.ledger import Balance, Remark


def ledger(
    config: Annotated[Path, typer.Argument(help="The line's TOML file.", metavar="CONFIG.toml", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output instead of text.")
    ] = False,
) -> None:
    """Show what became of every frame that a line captured.

    Captured frames are stored, failed, dropped, waiting for the next run, or lost. Below the balance comes each frame
    that was degraded, failed, dropped or lost, and each gap in the source's numbers, with the reason. It may be asked
    while the line runs.

    Example: `inspect-compress ledger line.toml --json | jq .balance`

    Exit status: 0 no frame is lost, 1 a frame is lost or there is no ledger, 2 the call was not understood.
    """
    from dataclasses import asdict

    from pipelines.config import read_config
    from pipelines.flow.ledger import FILE_NAME, Ledger

    book = Ledger(read_config(config).state / FILE_NAME, create=False)
    balance, remarks = book.balance(), book.remarks()
    book.close()
    if as_json:
        shown = {"balance": asdict(balance), "remarks": [asdict(remark) for remark in remarks]}
        typer.echo(json.dumps(shown, ensure_ascii=False))
    else:
        typer.echo(printable("\n".join([balance_in_words(balance), *map(_line, remarks)])))
    if balance.lost:
        raise typer.Exit(1)


def balance_in_words(balance: "Balance") -> str:
    """The balance on one line."""
    parts = ("stored", "failed", "dropped", "waiting", "lost")
    return (
        f"{balance.captured} captured = " + " + ".join(f"{getattr(balance, part)} {part}" for part in parts) + "; "
        f"{balance.degraded} degraded, {balance.gaps} missing before capture, {balance.unreadable} unreadable"
    )


def _line(remark: "Remark") -> str:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(remark.at, UTC).isoformat(sep=" ", timespec="seconds")
    count = f" ({remark.count})" if remark.count != 1 else ""
    return f"{at}  {remark.what}{count}  {remark.image or remark.frame_id or '-'}  {remark.reason}"
