"""Adapts the codec to a plant's frames: fine-tuning, exact weights, and what was gained and forgotten.

Which frames are the plant's, and which may be learned from, is decided by who calls.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inspect_compress.errors import ConfigError
from inspect_compress.files import write_file
from inspect_compress.images import list_images
from inspect_compress.qarv.weights import read_weights
from inspect_compress.training.base import Base
from inspect_compress.training.config import SourceConfig, TrainConfig, read_config
from inspect_compress.training.data import load_held_out
from inspect_compress.training.export import export_weights
from inspect_compress.training.forgetting import Comparison, compare, report_text
from inspect_compress.training.loop import CHECKPOINT, train, trained_network
from inspect_compress.training.tiles import MOST_HELD_OUT, Frames, cut_tiles, divided

REFERENCE = Path(__file__).parent / "reference"
"""Generated surfaces of machined parts: what stands for the old frames where none are named."""
CONFIG, RUN, NEW, OLD = "train.toml", "run", "frames/new", "frames/old"
REPORT, REPORT_TEXT = "report.json", "report.md"

_BATCH = 6
_OLD_SHARE = 0.3
"""Of the crops, so that little is forgotten; the rest are the plant's."""
_LEARNING_RATE = 2e-4
"""Half the peak of the shipped weights' own training: the base is nearly right already."""
_EMA = 0.99
_CHECKPOINT_MINUTES = 1.0

Report = Callable[[float, str], None]
"""Called with the part of the training that is done, 0 to 1, and a line of text."""


@dataclass(frozen=True)
class Adapted:
    """What an adaptation made: exact weights with their card, and the two comparisons with the base."""

    weights: Path
    new: Comparison
    old: Comparison


def reference_frames() -> Frames:
    """The shipped surfaces that stand for the old frames."""
    return divided("generated surfaces (shipped reference)", list_images(REFERENCE))


def start(new: Frames, old: Frames, base: Base, *, minutes: float, licence: str, out: Path) -> None:
    """Lay out a new adaptation in the folder `out`: tiles of the frames, and the settings of the training.

    Raises ConfigError where one lies there already, and the errors of reading the frames.
    """
    if (out / CONFIG).exists():
        raise ConfigError(f"{out}: holds an adaptation already; pass --resume to go on, or choose another folder")
    cut_tiles(new, out / NEW)
    cut_tiles(old, out / OLD)
    sources = [(new, NEW, licence, 1 - _OLD_SHARE), (old, OLD, "as the base's", _OLD_SHARE)]
    settings = TrainConfig(
        out=Path(RUN),
        minutes=minutes,
        init_from=base.weights,
        crop=192,
        batch=_BATCH,
        map_part=0.2,
        threads=min(os.cpu_count() or 1, _BATCH),
        learning_rate=_LEARNING_RATE,
        ema=_EMA,
        halve_large=False,
        checkpoint_minutes=_CHECKPOINT_MINUTES,
        validation_minutes=max(minutes / 2, 5),
        validation_images=min(MOST_HELD_OUT, len(new.held_out)),
        sources=[
            SourceConfig(path=Path(place), weight=weight, name=frames.name, licence=terms)
            for frames, place, terms, weight in sources
        ],
        shape={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in trained_network(base.weights).shape.to_dict().items()
        },
    )
    write_file(out / CONFIG, _toml(settings).encode())


def adapt(base: Base, out: Path, *, report: Report) -> Adapted:
    """Train what `start` laid out, or go on with it; export and measure the result, and write the report.

    Raises ConfigError where nothing was laid out or the base is another one, and the errors of training and export.
    """
    if not (out / CONFIG).is_file():
        raise ConfigError(f"{out}: holds no adaptation to go on with; leave --resume out")
    config = read_config(out / CONFIG)
    if config.init_from != base.weights:
        raise ConfigError(f"{out}: was started from {config.init_from}, not from {base.weights}; name the same base")
    trained = train(config, resume=(config.out / CHECKPOINT).exists(), report=report)
    weights = export_weights(trained, config, out, lambda line: report(1.0, line), least=base.scales)
    report(1.0, "measuring what was gained and what was forgotten")
    adapted = read_weights(weights)
    new, old = (compare(base.model, adapted, load_held_out(source), source.name) for source in config.sources)
    facts = {
        "base": base.model.fingerprint,
        "adapted": adapted.fingerprint,
        "float_weights": f"{RUN}/{trained.name}",
        "minutes": config.minutes,
        "new": new.to_dict(),
        "old": old.to_dict(),
    }
    write_file(out / REPORT, (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode(), overwrite=True)
    text = report_text(new, old, base.model.fingerprint, weights, config.minutes)
    write_file(out / REPORT_TEXT, text.encode(), overwrite=True)
    return Adapted(weights, new, old)


def _toml(config: TrainConfig) -> str:
    """The settings as TOML; JSON's strings, numbers and lists are TOML's too."""
    plain = config.model_dump(mode="json")
    shape, sources = plain.pop("shape"), plain.pop("sources")
    tables = [("", plain), ("\n[shape]", shape), *(("\n[[sources]]", source) for source in sources)]
    return (
        "\n".join(
            line
            for heading, table in tables
            for line in (
                heading,
                *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in table.items()),
            )
        ).lstrip("\n")
        + "\n"
    )
