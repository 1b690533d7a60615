"""The commands `archive …`. Their work is done in `pipelines.archive`, which they import when they run."""

import typer

from pipelines.archive_commands import care, keys, look, move, reencode

app = typer.Typer(
    help="Look into an archive of frames, take frames out, check it, and let go what is too old.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command()(move.append)
app.command()(look.query)
app.command()(look.get)
app.command()(move.export)
app.command()(look.verify)
app.command()(look.stats)
app.command()(reencode.reencode)
app.command()(care.compact)
app.command()(care.expire)
app.add_typer(care.hold, name="hold")
app.command()(keys.rotate)
