"""The commands that keep an archive in shape over the years: compact, expire, and holds against expiry."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspect_compress.terminal import printable
from pipelines.archive_commands.options import (
    By,
    Camera,
    Json,
    JsonLines,
    Line,
    Product,
    Since,
    Station,
    Until,
    Uri,
    asked_by,
    opened,
    selected,
)
from pipelines.judgement import Judgement

if TYPE_CHECKING:
    from pipelines.archive.retention import Expiry

hold = typer.Typer(help="Keep frames from being let go, whatever the policy says.", no_args_is_help=True)

HoldName = Annotated[str, typer.Argument(help="The hold's name.", metavar="NAME", show_default=False)]


def compact(
    uri: Uri,
    keep_hours: Annotated[
        int, typer.Option(min=24, metavar="HOURS", help="Files that a version of these last hours names are kept.")
    ] = 168,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Put many small files together, and delete those that nobody needs any more.

    Frames that were let go leave the disk here. It may run beside a line; run it once a day or a week.

    Example: `inspect-compress archive compact archive`

    Exit status: 0 done, 1 it could not be done, 2 the call was not understood.
    """
    from pipelines.archive.care import compact as compact_files
    from pipelines.governance.audit import AuditLog

    opened(uri)
    result = compact_files(uri, keep_hours=keep_hours)
    details = result.to_dict() | {"keep_hours": keep_hours}
    AuditLog(uri).append("archive compacted", by=asked_by(by), details=details)
    text = f"{result.files_before} files became {result.files_after}; {result.deleted} old files were deleted"
    typer.echo(json.dumps(result.to_dict()) if as_json else text)


def expire(
    uri: Uri,
    policy: Annotated[Path | None, typer.Option(metavar="POLICY.toml", help="The rules, in a file.")] = None,
    older_than: Annotated[
        int | None, typer.Option(min=0, metavar="DAYS", help="One rule instead: frames captured longer ago.")
    ] = None,
    line: Line = None,
    station: Station = None,
    product: Product = None,
    camera: Camera = None,
    verdict: Annotated[Judgement | None, typer.Option(help="That detectors judged so in the end.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let frames go whose time is over, but for those that a hold keeps.

    What goes is recorded frame by frame, with its rule and who asked, and the audit log has the sums. The rules, of
    which the first that applies to a frame decides; a frame of no rule is kept:

        [[rule]]
        name = "defective parts"
        verdict = "defective"
        keep_days = 3650

        [[rule]]
        name = "all others of line-1"
        line = "line-1"
        keep_days = 90

    The bytes leave the disk at the first `compact` a week later.

    Example: `inspect-compress archive expire archive --policy retention.toml --dry-run`

    Exit status: 0 done, 1 it could not be done, 2 the call was not understood.
    """
    from datetime import UTC, datetime

    from pipelines.archive.retention import Policy, read_policy
    from pipelines.archive.retention import expire as let_go
    from pipelines.governance.audit import AuditLog
    from pipelines.progress import Bars

    judged = verdict and verdict.value
    chosen = {"line": line, "station": station, "product": product, "camera": camera, "verdict": judged}
    options = {name: value for name, value in chosen.items() if value is not None}
    if policy and (options or older_than is not None):
        raise typer.BadParameter("with --policy, the file says which frames; leave the other options out")
    if policy:
        rules = read_policy(policy)
    elif older_than is not None:
        one = {"name": f"older than {older_than} days", "keep_days": older_than, **options}
        rules = Policy.model_validate({"rule": [one]})
    else:
        raise typer.BadParameter("say what may go: by --policy or by --older-than")
    archive, name, log = opened(uri), asked_by(by), AuditLog(uri)
    if not dry_run:
        log.append("expiry begun", by=name, details={"rules": rules.model_dump(exclude_none=True)["rule"]})
    with Bars() as bars:
        result = let_go(archive, rules, now=datetime.now(UTC), by=name, dry_run=dry_run, track=bars.track)
    if not dry_run:
        log.append("expiry ended", by=name, details=result.to_dict())
    typer.echo(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else _expired(result))


@hold.command("add")
def hold_add(
    uri: Uri,
    name: HoldName,
    reason: Annotated[str, typer.Option(help="Why the frames are needed.", show_default=False)],
    since: Since = None,
    until: Until = None,
    line: Line = None,
    station: Station = None,
    product: Product = None,
    camera: Camera = None,
    frame: Annotated[list[str] | None, typer.Option(metavar="FRAME", help="This frame; may be repeated.")] = None,
    by: By = None,
) -> None:
    """Keep frames from being let go: those with all the properties named; with none, the whole archive.

    Example: `inspect-compress archive hold add archive claim-7 --reason "claim 7 of customer K" --line line-1
    --since 2027-03-01 --until 2027-04-01`

    Exit status: 0 done, 1 it could not be done, 2 the call was not understood.
    """
    from datetime import UTC, datetime

    from pipelines.archive.holds import Hold, Holds
    from pipelines.governance.audit import AuditLog

    opened(uri)
    chosen = selected(since=since, until=until)
    placed = Hold(
        name=name,
        reason=reason,
        by=asked_by(by),
        at=datetime.now(UTC),
        since=chosen.since,
        until=chosen.until,
        line=line,
        station=station,
        product=product,
        camera=camera,
        frame_ids=tuple(frame or ()),
    )
    Holds(uri).add(placed)
    AuditLog(uri).append("hold placed", by=placed.by, details=placed.to_dict())
    typer.echo(f"{uri}: hold {name} is in place")


@hold.command("list")
def hold_list(uri: Uri, as_json: JsonLines = False) -> None:
    """Print the holds that are in place.

    Example: `inspect-compress archive hold list archive`

    Exit status: 0 done, 1 a hold cannot be read, 2 the call was not understood.
    """
    from pipelines.archive.holds import Holds

    opened(uri)
    for placed in Holds(uri).all():
        facts = placed.to_dict()
        if as_json:
            typer.echo(json.dumps(facts, ensure_ascii=False))
        else:
            told = ("name", "reason", "by", "at")
            rest = "; ".join(f"{key} {value}" for key, value in facts.items() if key not in told)
            typer.echo(
                printable(f"{placed.name}  {placed.reason}  ({placed.by}, {facts['at']})  {rest or 'all frames'}")
            )


@hold.command("release")
def hold_release(
    uri: Uri,
    name: HoldName,
    reason: Annotated[str, typer.Option(help="Why the frames are not needed any more.", show_default=False)],
    by: By = None,
) -> None:
    """Take a hold away; the policy decides again.

    Example: `inspect-compress archive hold release archive claim-7 --reason "settled"`

    Exit status: 0 done, 1 it could not be done, 2 the call was not understood.
    """
    from pipelines.archive.holds import Holds
    from pipelines.governance.audit import AuditLog

    opened(uri)
    placed = Holds(uri).get(name)
    AuditLog(uri).append("hold released", by=asked_by(by), details={"reason": reason, "hold": placed.to_dict()})
    Holds(uri).release(name)
    typer.echo(f"{uri}: hold {name} is released")


def _expired(result: "Expiry") -> str:
    would = "would go" if result.dry_run else "went"
    lines = [f"{result.frames.total()} frames, {result.bytes.total():,} bytes {would}"]
    lines += [
        f"  by rule {rule}: {count} frames, {result.bytes[rule]:,} bytes" for rule, count in result.frames.items()
    ]
    lines += [f"  {day}  {line or '-'}: {count} frames" for (day, line), count in sorted(result.days.items())]
    lines += [f"kept by hold {name}: {count} frames" for name, count in result.held.items()]
    return "\n".join(map(printable, lines))
