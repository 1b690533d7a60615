"""The commands `models list|add|show|retire`. The registry itself is `inspect_compress.models`.

Each change is written to the audit log of the registry's folder first, so that none is without its entry.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inspect_compress.models.entry import Entry

app = typer.Typer(
    help="The models that files are made with: a registry by fingerprint, with cards and gates.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Fingerprint = Annotated[
    str, typer.Argument(metavar="FINGERPRINT", help="The model's fingerprint, or its first digits.")
]
By = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who does this. [default: this user]", show_default=False)
]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List all models: those shipped with the package, then those of the registry.

    The registry is the folder that INSPECT_COMPRESS_MODELS names, or ~/.local/share/inspect-compress/models.

    Example: `inspect-compress models list --json`
    """
    from rich.console import Console
    from rich.table import Table

    models = _all_models()
    if as_json:
        typer.echo(json.dumps(models))
        return
    table = Table()
    for heading in ("model", "from", "added", "lines", "quality 60, by its card"):
        table.add_column(heading, no_wrap=heading == "model")
    for model in models:
        added = f"{model['added_at'][:10]} {model['added_by']}"
        table.add_row(model["fingerprint"], model["origin"], added, model["state"], _at_60(model))
    Console().print(table)


@app.command()
def add(
    weights: Annotated[Path, typer.Argument(help="Exact weights, as `adapt` or `export` writes them.")],
    card: Annotated[Path, typer.Option(metavar="CARD.md", help="The card that was written beside the weights.")],
    pilot: Annotated[
        Path | None,
        typer.Option(metavar="DIR|summary.json", help="The pilot that judged this model safe; admits it to lines."),
    ] = None,
    override_by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who admits the model to lines without such a pilot; needs --reason."),
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why the gate is overridden.")] = None,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Add a model to the registry, and admit it to production lines once a pilot judged it safe.

    The weights are read, tried and compared with their card, which must hold a validation curve. Without --pilot the
    model is installed for files and pilots, and lines refuse it; add it again with --pilot to admit it.

    Example, from an adaptation to a line:

        inspect-compress models add adapted/qarv-….safetensors --card adapted/qarv-….md

        inspect-compress pilot frames --model FINGERPRINT --out pilot

        inspect-compress models add adapted/qarv-….safetensors --card adapted/qarv-….md --pilot pilot
    """
    from datetime import UTC, datetime

    from inspect_compress.errors import ConfigError
    from inspect_compress.models.entry import Gate
    from inspect_compress.models.registry import check_in_use, examine, registry
    from pipelines.governance.audit import who
    from pipelines.pilot_gate import read_judgement

    if (override_by is None) != (reason is None) or not (override_by or "-").strip() or not (reason or "-").strip():
        raise ConfigError("--override-by and --reason belong together: a name and the reason that it stands for")
    now, doer, models = datetime.now(UTC), by or who(), registry()
    candidate = examine(weights, card, by=doer, at=now)
    fingerprint = candidate.entry.fingerprint
    known = {entry.fingerprint: entry for entry in models.entries()}
    if fingerprint in known:
        check_in_use(known[fingerprint])
    gate = None
    judgement = read_judgement(pilot, fingerprint) if pilot else None
    if judgement and not (judgement.objection and override_by):
        gate = judgement.gate(doer, now)
    elif override_by and reason:
        sha256 = judgement.summary_sha256 if judgement else ""
        objection = judgement.objection if judgement else ""
        gate = Gate(
            at=now,
            by=override_by,
            kind="override",
            summary_sha256=sha256,
            reason=f"{reason} (overrides: {objection})" if objection else reason,
        )
    models.check_addable(fingerprint)
    if fingerprint not in known:
        _audit("model added", doer, candidate.entry.model_dump(mode="json", include={"fingerprint", "curve"}))
    entry = models.add(candidate)
    if gate:
        _audit("model admitted", doer, {"fingerprint": fingerprint, "gate": gate.model_dump(mode="json")})
        entry = models.admit(fingerprint, gate)
    _tell(entry, "already there" if fingerprint in known and not gate else "added", as_json=as_json)


@app.command()
def show(fingerprint: Fingerprint, as_json: Json = False) -> None:
    """Show a model: its card, who added it, which gates it has passed, and whether it is retired.

    Example: `inspect-compress models show 370b11ac`
    """
    from inspect_compress.qarv.weights import full_fingerprint

    full = full_fingerprint(fingerprint)
    (model,) = (model for model in _all_models() if model["fingerprint"] == full)
    card = _card(full)
    if as_json:
        typer.echo(json.dumps(model | {"card": card}))
        return
    typer.echo(f"model    {full}, {model['origin']}\nlines    {model['state']}")
    if model["added_by"]:
        typer.echo(f"added    {model['added_at'][:10]} by {model['added_by']}")
    for gate in model["gates"]:
        typer.echo(f"gate     {gate['at'][:10]} by {gate['by']}: {_gate(gate)}")
    if model["retired"]:
        retired = model["retired"]
        typer.echo(f"retired  {retired['at'][:10]} by {retired['by']}: {retired['reason']}")
    typer.echo(f"\n{card}", nl=False)


@app.command()
def retire(
    fingerprint: Fingerprint,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why no new files are to be made with it.")],
    by: By = "",
    as_json: Json = False,
) -> None:
    """Retire a model of the registry: lines and pilots refuse it from now on, and its files decode as before.

    Example: `inspect-compress models retire 3f2a90c1 --reason "the new lens, see 8d01c2aa"`
    """
    from datetime import UTC, datetime

    from inspect_compress.errors import ModelError
    from inspect_compress.models.entry import Retirement
    from inspect_compress.models.registry import check_in_use, registry
    from pipelines.governance.audit import who

    models, doer = registry(), by or who()
    entry = models.entry(fingerprint)
    if entry is None:
        raise ModelError(f"model {fingerprint}: is shipped with the package, and is not for this registry to retire")
    check_in_use(entry)
    _audit("model retired", doer, {"fingerprint": entry.fingerprint, "reason": reason})
    retirement = Retirement(at=datetime.now(UTC), by=doer, reason=reason)
    _tell(models.retire(entry.fingerprint, retirement), "retired", as_json=as_json)


def _audit(action: str, by: str, details: "Mapping[str, Any]") -> None:
    from inspect_compress.models.folder import registry_folder
    from pipelines.governance.audit import AuditLog

    AuditLog(str(registry_folder())).append(action, by=by, details=details)


def _tell(entry: "Entry", done: str, *, as_json: bool) -> None:
    model = _described(entry)
    typer.echo(json.dumps(model) if as_json else f"model {entry.fingerprint}: {done}; {model['state']}")


def _all_models() -> list[dict[str, Any]]:
    from inspect_compress.models.registry import registry
    from inspect_compress.qarv.weights import shipped_fingerprints

    return [_shipped(fingerprint) for fingerprint in shipped_fingerprints()] + [
        _described(entry) for entry in registry().entries()
    ]


def _shipped(fingerprint: str) -> dict[str, Any]:
    from inspect_compress.models.card import read_curve
    from inspect_compress.qarv.weights import default_fingerprint

    is_default = fingerprint == default_fingerprint()
    return {
        "fingerprint": fingerprint,
        "origin": "shipped",
        "default": is_default,
        "state": "admitted; the default" if is_default else "admitted",
        "added_at": "",
        "added_by": "",
        "curve": [point.model_dump() for point in read_curve(_card(fingerprint), fingerprint)],
        "gates": [],
        "retired": None,
    }


def _described(entry: "Entry") -> dict[str, Any]:
    state = "no gate passed"
    if entry.retired:
        state = f"retired {entry.retired.at.date()}"
    elif entry.gates:
        overridden = all(gate.kind == "override" for gate in entry.gates)
        by = f", by {entry.gates[-1].by}'s override" if overridden else ""
        state = f"admitted from quality {entry.lowest_quality}{by}"
    return {"origin": "registry", "default": False, "state": state, **entry.model_dump(mode="json")}


def _card(fingerprint: str) -> str:
    from inspect_compress.models.registry import registry
    from inspect_compress.qarv.weights import FOLDER, shipped_fingerprints

    if fingerprint in shipped_fingerprints():
        return (FOLDER / f"qarv-{fingerprint}.md").read_text("utf-8")
    return registry().card(fingerprint)


def _gate(gate: "Mapping[str, Any]") -> str:
    if gate["kind"] == "override":
        return f"overridden: {gate['reason']}"
    return (
        f"a pilot on {gate['dataset']} judged it safe from quality {gate['quality']} on for {gate['detector']} "
        f"(summary.json, SHA-256 {gate['summary_sha256'][:16]}…)"
    )


def _at_60(model: "Mapping[str, Any]") -> str:
    return next((f"{p['bpp']:.3f} bpp, {p['psnr']:.2f} dB" for p in model["curve"] if p["quality"] == 60), "–")
