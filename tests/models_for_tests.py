"""Models to put into a registry: the shipped default's network under fingerprints of its own."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from inspect_compress.qarv.weights import FOLDER, default_fingerprint, fingerprint_of


def make_model(folder: Path, note: str = "a plant's own") -> tuple[Path, Path, str]:
    """Write weights, which `note` tells from others, and their card; returns both and the fingerprint."""
    default = default_fingerprint()
    shipped = FOLDER / f"qarv-{default}.safetensors"
    data = save(load_file(shipped), _metadata(shipped) | {"note": note})
    fingerprint = fingerprint_of(data)
    weights = folder / f"qarv-{fingerprint}.safetensors"
    weights.write_bytes(data)
    card = weights.with_suffix(".md")
    card.write_text(shipped.with_suffix(".md").read_text("utf-8").replace(default, fingerprint), "utf-8")
    return weights, card, fingerprint


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())
