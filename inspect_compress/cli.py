"""The command line's frame: finds commands through entry points and turns errors into one line.

A command is a function, or a Typer application of subcommands, registered in the entry point group
`inspect_compress.commands` under its name. Its module is imported at every start, so commands import what is heavy
inside their function.
"""

import sys
import warnings
from importlib.metadata import entry_points

import typer
from rich.console import Console

from inspect_compress.errors import InspectCompressError
from inspect_compress.terminal import printable

GROUP = "inspect_compress.commands"


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 something failed, 2 the call was not understood."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what it warns of is refused with an error of ours
    try:
        build_app()()
    except InspectCompressError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {printable(str(error))}", markup=False)
        sys.exit(1)


def build_app() -> typer.Typer:
    """The Typer application with all installed commands."""
    app = typer.Typer(
        help="Compress inspection frames, and prove what that does to the defect detector.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode="markdown",
    )
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(name=entry.name)(command)
    return app
