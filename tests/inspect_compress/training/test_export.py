"""Export as a user runs it: trained float weights become exact ones, or it says which layer cannot."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from inspect_compress.fidelity import psnr
from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.network import Network, Shape
from inspect_compress.qarv.tables import gaussian_tables
from inspect_compress.qarv.weights import FOLDER, default_fingerprint, read_weights, save_weights
from inspect_compress.training.export import ExportError, export, prove, scales_of

CONFIG = """
out = "run"
minutes = 1
validation_images = 1
[[sources]]
name = "plates"
licence = "none"
path = "images"
weight = 1
"""


def plate(seed: int) -> Image:
    grain = np.random.default_rng(seed).normal(128, 4, (80, 90)).cumsum(axis=1) / 20 + 100
    return grain.clip(0, 255).astype(np.uint8)


@pytest.fixture
def network() -> Network:
    """Small, and with every part at work: at initialisation residual branches add nothing."""
    torch.manual_seed(0)
    shape = Shape(width_8=64, width_16=64, width_32=64, blocks_8=1, blocks_16=1, blocks_32=1)
    network = Network(shape).requires_grad_(False).eval()
    for name, parameter in network.named_parameters():
        if "down.weight" in name:
            parameter.normal_(std=0.01)
    return network


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("inspect-compress")), "export", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(4):
        PillowImage.fromarray(plate(number)).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "train.toml").write_text(CONFIG)
    return tmp_path


def test_exported_weights_code_as_well_as_the_float_ones(folder: Path, network: Network) -> None:
    trained = folder / "trained.safetensors"
    save_weights(network, trained, gaussian_tables())
    trained.with_suffix(".md").write_text("# QARV weights trained\n\n| plates | none |\n")

    done = run(folder, "trained.safetensors", "train.toml", "--out", "exact")

    assert done.returncode == 0, done.stderr
    (weights,) = (folder / "exact").glob("qarv-*.safetensors")
    assert done.stdout.strip().endswith(weights.name)
    assert "| plates | none |" in weights.with_suffix(".md").read_text()
    exact, floats = QarvCodec(read_weights(weights)), QarvCodec(read_weights(trained))
    for quality in (5, 50, 95):
        ours, theirs = (codec.encode_and_reconstruct(plate(9), quality=quality) for codec in (exact, floats))
        np.testing.assert_array_equal(exact.decode(ours.data), ours.reconstruction)
        assert psnr(plate(9), ours.reconstruction) > psnr(plate(9), theirs.reconstruction) - 0.5
        assert len(ours.data) < 1.2 * len(theirs.data) + 50


@pytest.mark.parametrize(
    ("layer", "sums"), [("leave", "overlap"), ("out.0.depthwise", None), ("latents_8.1.back", None)]
)
def test_weights_of_any_size_become_exact_or_are_refused_by_name(
    network: Network, layer: str, sums: str | None
) -> None:
    """Where scales can absorb the size they do; patches that overlap are in fixed units."""
    network.get_submodule(layer).weight.mul_(1000)
    if sums:
        with pytest.raises(ExportError, match=sums):
            export(network, [plate(0)])
    else:
        assert max(prove(export(network, [plate(0)])).values()) < 1


def test_the_proof_sees_a_weight_that_is_too_large(network: Network) -> None:
    tensors = export(network, [plate(0)])
    tensors["out.1.depthwise"][3] = 127
    with pytest.raises(ExportError, match=r"out\.1\.depthwise"):
        prove(tensors)


def test_weights_without_their_card_are_refused_before_any_work(folder: Path, network: Network) -> None:
    save_weights(network, folder / "trained.safetensors", gaussian_tables())
    done = run(folder, "trained.safetensors", "train.toml")
    assert done.returncode == 1
    assert "trained.md: the card of the weights cannot be read" in done.stderr
    assert not list(folder.glob("qarv-*"))


def test_weights_that_are_exact_already_are_refused(folder: Path) -> None:
    done = run(folder, str(FOLDER / f"qarv-{default_fingerprint()}.safetensors"), "train.toml")
    assert done.returncode == 1
    assert "is an exported weight file" in done.stderr
    assert not list(folder.glob("*.safetensors"))


def test_scales_are_found_again_and_kept_where_the_images_would_need_less(network: Network) -> None:
    made = scales_of(network, export(network, [plate(number) for number in range(3)]))
    flat = [np.full((80, 90), 100, np.uint8)]

    alone = scales_of(network, export(network, flat))
    kept = scales_of(network, export(network, flat, made))

    assert any(bool((alone[name][0] < 0.9 * adapted).any()) for name, (adapted, _) in made.items())
    for name, (adapted, hidden) in made.items():
        assert bool((kept[name][0] > 0.99 * adapted).all())
        assert bool((kept[name][1] > 0.49 * hidden).all())  # in powers of two
