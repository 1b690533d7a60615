"""The progress bar that every command shows, on standard error, so that standard output stays for results."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress(*, counted: bool = False) -> Progress:
    """A bar with the time gone and left; `counted` adds how many of how many are done. Nothing in a pipe or log."""
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn()]
    if counted:
        columns.append(MofNCompleteColumn())
    return Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
