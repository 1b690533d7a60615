"""Compares an adapted model with its base, from real files: on the new frames, and on the old."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_compress.bd import bd_rate
from inspect_compress.images import Image
from inspect_compress.qarv.weights import Model
from inspect_compress.training.validation import rd_curve

_TEXT = """# Adaptation of {base} to {new_name}

Adapted model: `{fingerprint}`, from {minutes:g} minutes of training on {new_name}, mixed with {old_name}.

| frames | held out | BD-rate against the base |
|---|---|---|
| new: {new_name} | {new_count} | {new_rate} |
| old: {old_name} | {old_count} | {old_rate} |

BD-rate is the mean change of the files' size at the same PSNR, over the range that both models share, from real
files of frames that were held out. Below zero on the new frames: that is the gain. Above zero on the old ones: that
was forgotten. Of surfaces that are among neither, more may have been forgotten: it is not measured here.

## Rate and fidelity, means over the held-out frames

{curves}

## Before a line may use it

```
inspect-compress models add {weights} --card {card}
inspect-compress pilot DATASET --model {fingerprint} --out pilot
inspect-compress models add {weights} --card {card} --pilot pilot
```

A smaller file is no proof for the detector: the pilot is.
"""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same frames: points of `rd_curve`, and the BD-rate of the adapted one in percent.

    `percent` is None where the curves cannot be compared, and `remark` says why, or why to doubt the figure.
    """

    name: str
    frames: int
    base: Sequence[dict[str, float]]
    adapted: Sequence[dict[str, float]]
    percent: float | None
    remark: str

    def to_dict(self) -> dict[str, Any]:
        """As `report.json` has it."""
        return {
            "name": self.name,
            "frames": self.frames,
            "bd_rate": self.percent,
            "remark": self.remark,
            "base": list(self.base),
            "adapted": list(self.adapted),
        }

    def rate(self) -> str:
        """The BD-rate in words."""
        if self.percent is None:
            return f"not comparable: {self.remark}"
        return f"{self.percent:+.1f} %" + (f" (doubtful: {self.remark})" if self.remark else "")


def compare(base: Model, adapted: Model, images: Sequence[Image], name: str) -> Comparison:
    """Encode images with both models at each of `validation.QUALITIES`."""
    before, after = rd_curve(base, images), rd_curve(adapted, images)
    found = bd_rate(*([(point["bpp"], point["psnr"]) for point in curve] for curve in (before, after)))
    return Comparison(name, len(images), before, after, found.percent, found.reason)


def report_text(new: Comparison, old: Comparison, base: str, weights: Path, minutes: float) -> str:
    """The report for people, in Markdown."""
    rows = [
        f"| {one.name} | {before['quality']:.0f} | {before['bpp']:.3f} bpp, {before['psnr']:.2f} dB "
        f"| {after['bpp']:.3f} bpp, {after['psnr']:.2f} dB |"
        for one in (new, old)
        for before, after in zip(one.base, one.adapted, strict=True)
    ]
    return _TEXT.format(
        base=base,
        fingerprint=weights.stem.removeprefix("qarv-"),
        minutes=minutes,
        new_name=new.name,
        new_count=new.frames,
        new_rate=new.rate(),
        old_name=old.name,
        old_count=old.frames,
        old_rate=old.rate(),
        curves="\n".join(["| frames | quality | base | adapted |", "|---|---|---|---|", *rows]),
        weights=weights,
        card=weights.with_suffix(".md"),
    )
