"""The model card that is written beside a run's weights: data with licences, recipe, hours, measured curve."""

import subprocess
from typing import Any

from inspect_compress.training.config import TrainConfig

_TEMPLATE = """# QARV weights {fingerprint}

| | |
|---|---|
| parameters | {parameters:,} |
| λ | {lmbda_min:g} to {lmbda_max:g}, 256 steps |
| started from | {start} |
| trained for | {hours:.2f} hours, {steps:,} steps of {batch} crops of {crop}×{crop} |
| recipe | AdamW, peak learning rate {learning_rate:g}, power-law decay to 0, EMA {ema}, λ log-uniform and \
stratified, spatial λ in {map_part:.0%} of the steps, seed {seed} |
| code | commit {commit} |

## Data

Only training splits; {held_out} images of the first source were held out for the curve below.

| source | licence | share of crops |
|---|---|---|
{sources}

## Held-out curve, from real encoded bytes

Mean over {held_out} held-out images of the first source.

{curve}

## Known limits

- Colour is coded as three planes by the mono network, the two of difference halved up to λ = 1000; natural
  photographs are not its subject.
- 8-bit samples only.
"""


def card_text(config: TrainConfig, fingerprint: str, parameters: int, state: dict[str, Any]) -> str:
    """Markdown for the weights `fingerprint`; `state` holds `step`, `minutes` and `curve` of the run."""
    shape = config.network_shape()
    total = sum(source.weight for source in config.sources)
    sources = "\n".join(f"| {s.name} | {s.licence} | {s.weight / total:.0%} |" for s in config.sources)
    return _TEMPLATE.format(
        fingerprint=fingerprint,
        parameters=parameters,
        hours=state["minutes"] / 60,
        steps=state["step"],
        commit=_commit(),
        start=config.init_from.stem if config.init_from else "a lapped transform (see docs/training.md)",
        lmbda_min=shape.lmbda_min,
        lmbda_max=shape.lmbda_max,
        sources=sources,
        curve=_curve_table(state["curve"]),
        held_out=config.validation_images,
        **config.model_dump(include={"batch", "crop", "learning_rate", "ema", "map_part", "seed"}),
    )


def _curve_table(curve: list[dict[str, Any]]) -> str:
    """A row a validation: bpp and PSNR at each quality, and BD-rate to classical codecs."""
    qualities = [f"quality {point['quality']}" for point in curve[-1]["points"]]
    codecs = list(curve[-1]["bd_rate"])
    headings = ["minutes", *qualities, *(f"BD-rate to {name}" for name in codecs)]
    rows = [headings, ["---"] * len(headings)]
    for entry in curve:
        points = [f"{p['bpp']:.3f} bpp, {p['psnr']:.2f} dB" for p in entry["points"]]
        rates = [entry.get("bd_rate", {}).get(name) for name in codecs]
        against = ["–" if rate is None else f"{rate:+.1f} %" for rate in rates]
        rows.append([f"{entry['minutes']:.0f}", *points, *against])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
