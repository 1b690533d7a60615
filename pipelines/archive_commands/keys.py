"""The command `archive rotate`. Its work is done in `pipelines.governance.rotation`."""

import json
from typing import Annotated

import typer

from inspect_compress.terminal import printable
from pipelines.archive_commands.options import By, Json, KeyFile, Uri, asked_by


def rotate(
    uri: Uri,
    to: Annotated[str, typer.Option("--to", help="The key to encrypt with.", metavar="KEY_ID", show_default=False)],
    keys: KeyFile = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Encrypt every payload with the key KEY_ID: those under other keys, and those that are not encrypted.

    A line may go on writing meanwhile; change its key first. A rotation that was cut off is completed by running it
    again. What the payloads were before stays in files that no reader sees, until `inspect-compress archive compact`
    has removed them; only then is the old key needed no more.

    Example: `inspect-compress archive rotate archive --to 2028 --keys keys.toml`

    Exit status: 0 every payload is under the key, 1 some are not, or it failed, 2 the call was not understood.
    """
    from inspect_compress.errors import ConfigError
    from pipelines.governance.encryption import VARIABLE, keys_at_hand
    from pipelines.governance.rotation import rotate as rotate_keys
    from pipelines.progress import Bars

    ring = keys_at_hand(keys)
    if ring is None:
        raise ConfigError(f"{uri}: there are no keys; name a key file by --keys, or set {VARIABLE}")
    with Bars() as bars:
        done = rotate_keys(uri, ring.with_current(to), by=asked_by(by), track=bars.track)
    if as_json:
        failed = [key._asdict() | {"reason": reason} for key, reason in done.failed.items()]
        typer.echo(json.dumps({"archive": uri, "to": to, "rotated": done.rotated, "failed": failed}))
    else:
        lines = [f"{done.rotated} payloads encrypted with key {to}", *(f"failed: {r}" for r in done.failed.values())]
        typer.echo("\n".join(map(printable, lines)))
    if done.failed:
        raise typer.Exit(1)
