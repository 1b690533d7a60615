"""The commands `archive …`. Their work is done in `pipelines.archive`, which they import when they run."""

import typer

from pipelines.archive_commands import keys, look

app = typer.Typer(
    help="Look into an archive of frames, take frames out, check it, and let go what is too old.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command()(look.query)
app.command()(look.get)
app.command()(look.verify)
app.command()(look.stats)
app.command()(keys.rotate)
