"""Training as a user runs it: real processes on real files, killed and resumed."""

import copy
import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from inspect_compress.errors import ConfigError, DatasetError, ImageError
from inspect_compress.images import write_png
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.network import Block, Network, Shape
from inspect_compress.qarv.tables import gaussian_tables
from inspect_compress.qarv.weights import installed_model, read_weights, save_weights
from inspect_compress.training.checkpoint import checkpoint_bytes, read_checkpoint
from inspect_compress.training.config import SourceConfig, read_config
from inspect_compress.training.data import Crops, Source, load_sources
from inspect_compress.training.gradients import BatchGradients
from inspect_compress.training.loop import start_from
from inspect_compress.training.objective import evaluate_batch

CONFIG = """
out = "run"
minutes = {minutes}
crop = 64
batch = 2
threads = 1
validation_images = 1
checkpoint_minutes = 0.02
[shape]
width_8 = 64
width_16 = 64
width_32 = 64
blocks_8 = 1
blocks_16 = 1
blocks_32 = 1
[[sources]]
name = "plates"
licence = "none"
path = "images"
weight = 1
"""


def small(**changes: int) -> Network:
    plain = {"width_8": 64, "width_16": 64, "width_32": 64, "blocks_8": 1, "blocks_16": 1, "blocks_32": 1}
    return Network(Shape(**(plain | changes)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        plate = rng.normal(128, 4, (80, 90)).cumsum(axis=1) / 20 + 100
        PillowImage.fromarray(plate.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def start(folder: Path, minutes: float, *options: str) -> subprocess.Popen[str]:
    (folder / "train.toml").write_text(CONFIG.format(minutes=minutes))
    command = [str(Path(sys.executable).with_name("inspect-compress")), "train", "train.toml", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def steps(folder: Path) -> list[int]:
    with (folder / "run" / "log.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_a_killed_run_resumes_and_ends_with_weights_that_code(folder: Path) -> None:
    checkpoint = folder / "run" / "checkpoint.safetensors"
    process = start(folder, 10)
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = read_checkpoint(checkpoint)

    again = start(folder, reached["minutes"] + 0.1, "--resume")
    out, errors = again.communicate(timeout=180)

    assert again.returncode == 0, errors
    assert read_checkpoint(checkpoint)["step"] > reached["step"]
    (weights,) = (folder / "run").glob("qarv-*.safetensors")
    assert out.strip().endswith(weights.name)
    assert "| plates | none | 100% |" in weights.with_suffix(".md").read_text()
    codec = QarvCodec(read_weights(weights))
    image = np.full((40, 50), 90, np.uint8)
    encoded = codec.encode_and_reconstruct(image, quality=80)
    np.testing.assert_array_equal(codec.decode(encoded.data), encoded.reconstruction)


def test_a_finished_run_is_not_overwritten(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "checkpoint.safetensors").write_bytes(b"precious")
    process = start(folder, 1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pass --resume" in errors
    assert (folder / "run" / "checkpoint.safetensors").read_bytes() == b"precious"


def test_training_lowers_the_loss_on_what_it_sees(folder: Path) -> None:
    sources, _ = load_sources([_source(folder)], held_out=1)
    network = copy.deepcopy(installed_model("746dad7cd19f366f").network).requires_grad_()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    margin = network.shape.margin
    planes = torch.from_numpy(Crops(sources, 64, margin=margin).batch(4, np.random.default_rng(2)))
    gradients = BatchGradients(network, threads=2)
    losses = []
    for step in range(20):
        losses.append(gradients(planes, torch.tensor([50.0, 200.0, 800.0, 3200.0]), step).loss.item())
        optimizer.step()
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])


def test_bfloat16_blocks_give_nearly_the_same_loss(folder: Path) -> None:
    """What a GPU does; bfloat16 is the same arithmetic on the CPU."""
    sources, _ = load_sources([_source(folder)], held_out=1)
    planes = torch.from_numpy(Crops(sources, 64).batch(2, np.random.default_rng(0)))
    network = Network()
    for block in (module for module in network.modules() if isinstance(module, Block)):
        torch.nn.init.normal_(block.down.weight, std=0.01)
    losses = []
    for low_precision in (False, True):
        for block in (module for module in network.modules() if isinstance(module, Block)):
            block.in_bfloat16 = low_precision
        noise = torch.Generator().manual_seed(0)
        losses.append(evaluate_batch(network, planes, torch.tensor([100.0, 1000.0]), noise).loss.item())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_gradients_computed_side_by_side_are_those_of_the_mean_loss(folder: Path) -> None:
    sources, _ = load_sources([_source(folder)], held_out=1)
    planes = torch.from_numpy(Crops(sources, 64).batch(4, np.random.default_rng(0)))
    lmbda = torch.tensor([20.0, 90.0, 500.0, 4000.0])
    network = small()
    parts = [
        evaluate_batch(network, planes[i : i + 2], lmbda[i : i + 2], torch.Generator().manual_seed(seed)).loss
        for i, seed in ((0, 6), (2, 7))
    ]
    expected = torch.autograd.grad(sum(parts) / 2, list(network.parameters()))

    outcome = BatchGradients(network, threads=2)(planes, lmbda, seed=3)

    assert outcome.loss.item() == pytest.approx(float(sum(parts).detach()) / 2)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_a_deeper_network_starts_where_the_given_weights_ended(tmp_path: Path) -> None:
    trained = small()
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    save_weights(trained, tmp_path / "weights.safetensors", gaussian_tables())
    deeper = small(depth_16=2, depth_32=3, blocks_16=2)

    start_from(deeper, tmp_path / "weights.safetensors")

    planes, lmbda = torch.rand(2, 1, 64, 64), torch.tensor([100.0, 1000.0])
    one, other = (evaluate_batch(net, planes, lmbda, torch.Generator().manual_seed(0)) for net in (trained, deeper))
    assert one.loss.item() == pytest.approx(other.loss.item(), rel=1e-5)


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    save_weights(small(width_8=72), tmp_path / "weights.safetensors", gaussian_tables())
    with pytest.raises(ConfigError, match=r"weights\.safetensors: its .* does not fit"):
        start_from(small(), tmp_path / "weights.safetensors")


def test_the_same_seed_gives_the_same_crops(folder: Path) -> None:
    sources, held_out = load_sources([_source(folder)], held_out=1)
    assert len(sources[0].images) == 3
    assert len(held_out) == 1
    crops = Crops(sources, 64)
    one, same, other = (crops.batch(3, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert Crops(sources, 64, margin=4).batch(3, np.random.default_rng(5)).shape == (3, 1, 64, 64)


def test_crops_without_a_margin_end_at_any_block(folder: Path) -> None:
    crops = Crops(load_sources([_source(folder)], held_out=1)[0], 64)
    sides = {side for seed in range(60) for side in crops.batch(1, np.random.default_rng(seed)).shape[2:]}
    assert sides == {40, 48, 56, 64}


@pytest.mark.parametrize("halved", [0.0, 1.0])
def test_a_source_says_how_many_of_its_crops_are_at_half_size(folder: Path, halved: float) -> None:
    """Rows that differ by 2 come from an image at half size, where those of the image differ by 1."""
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None], (100, 300))
    crops = Crops([Source([ramp], 1.0, halved)], 32, halve_large=False)
    for seed in range(5):
        plane = 255 * crops.batch(1, np.random.default_rng(seed))[0, 0]
        steps = np.abs(np.diff(plane, axis=0)).max(), np.abs(np.diff(plane, axis=1)).max()
        assert max(steps) == pytest.approx(1 + halved, abs=1e-3)


def test_only_training_rows_of_labels_are_used(folder: Path) -> None:
    rows = ["image,defect,split", "images/0.png,,train", "images/1.png,,test", "images/2.png,,train"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    sources, held_out = load_sources([_source(folder, "labels.csv")], held_out=1)
    assert len(sources[0].images) + len(held_out) == 2
    (folder / "labels.csv").write_text("image,split\nimages/0.png,test\n")
    with pytest.raises(DatasetError, match="no rows of split `train`"):
        load_sources([_source(folder, "labels.csv")], held_out=1)


def test_a_deep_image_is_refused_by_name(folder: Path) -> None:
    write_png(folder / "images" / "deep.png", np.full((80, 90), 4095, np.uint16))
    with pytest.raises(ImageError, match=r"deep\.png: has 12 bits per sample"):
        load_sources([_source(folder, "images")], held_out=1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("minutes = 1", "minutes = 0"),
        ("crop = 64", "crop = 65"),
        ("batch = 2", "bach = 2"),
        ("weight = 1", "weight = -1"),
        ('out = "run"', "out = "),
    ],
)
def test_a_bad_setting_is_named(folder: Path, change: str, complaint: str) -> None:
    file = folder / "train.toml"
    file.write_text(CONFIG.format(minutes=1).replace(change, complaint))
    with pytest.raises(ConfigError, match=r"train\.toml: "):
        read_config(file)


def _source(folder: Path, path: str = "images") -> SourceConfig:
    return SourceConfig(path=folder / path, weight=1, name="plates", licence="none")


def test_a_checkpoint_holds_the_whole_state_and_an_older_one_is_refused(tmp_path: Path) -> None:
    network = small()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, betas=(0.9, 0.98), fused=True)
    sum(parameter.square().sum() for parameter in network.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "norm": math.inf, "curve": [{"step": 3, "bd_rate": {"jpeg": None}}]}
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(checkpoint_bytes(state))

    read = read_checkpoint(path)
    again = torch.optim.AdamW(network.parameters(), 1e-4, betas=(0.9, 0.98), fused=True)
    again.load_state_dict(read["optimizer"])
    assert (read["norm"], read["curve"]) == (math.inf, state["curve"])
    torch.testing.assert_close(again.state_dict()["state"], optimizer.state_dict()["state"])

    torch.save(state, path)
    with pytest.raises(ConfigError, match="is not a checkpoint of this version"):
        read_checkpoint(path)
