"""The training loop: a schedule laid over wall-clock time, checkpoints to resume from, a log, a validation curve."""

import copy
import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inspect_compress.errors import ConfigError
from inspect_compress.files import write_file
from inspect_compress.qarv.network import Block, Network, Shape
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.weights import Model, read_weights, save_weights
from inspect_compress.training.card import card_text
from inspect_compress.training.checkpoint import checkpoint_bytes, read_checkpoint
from inspect_compress.training.config import TrainConfig
from inspect_compress.training.data import Crops, Source, load_sources, spread_over
from inspect_compress.training.gradients import BatchGradients
from inspect_compress.training.objective import Outcome
from inspect_compress.training.tables import fit_tables
from inspect_compress.training.validation import Validation, unfitted

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.csv"

_WARM_UP_STEPS = 100
_DECAY_POWER = 0.8
_CLIP_RATIO = 2.5
_LOG_EVERY = 50
TABLE_IMAGES = 56
"""Training images of each source that the probability tables are fitted to."""

Report = Callable[[float, str], None]
"""Called with the part of the time that is done, 0 to 1, and a line of text."""


@dataclass
class Run:
    """All that a checkpoint holds."""

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    step: int = 0
    minutes: float = 0.0
    gradient_norm: float = math.inf
    curve: list[dict[str, Any]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "minutes": self.minutes,
            "gradient_norm": self.gradient_norm,
            "curve": self.curve,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.minutes = state["step"], state["minutes"]
        self.gradient_norm, self.curve = state["gradient_norm"], state["curve"]


def train(config: TrainConfig, *, resume: bool, report: Report) -> Path:
    """Train as `config` says and return the path of the weights. Raises ConfigError and DatasetError.

    With `resume`, goes on from the last checkpoint in `config.out`; the schedule counts the time before it.
    """
    checkpoint = config.out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise ConfigError(f"{checkpoint}: exists already; pass --resume to go on, or choose another `out`")
    if resume and not checkpoint.exists():
        raise ConfigError(f"{checkpoint}: there is no checkpoint to resume from")
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sources, held_out = load_sources(config.sources, config.validation_images)
    margin = config.network_shape().margin
    crops = Crops(sources, config.crop, margin=margin, halve_large=config.halve_large)
    run = _new_run(config, crops, device)
    if resume:
        run.load(read_checkpoint(checkpoint))
    config.out.mkdir(parents=True, exist_ok=True)
    validation = Validation(held_out)
    _loop(config, run, crops, validation, device, report)
    return _publish(config, run, sources, validation, report)


def _new_run(config: TrainConfig, crops: Crops, device: torch.device) -> Run:
    network = Network(config.network_shape())
    network.fit_scales(torch.from_numpy(crops.batch(32, np.random.default_rng(config.seed))))
    if config.init_from:
        start_from(network, config.init_from)
    network.to(device)
    for module in network.modules():
        if isinstance(module, Block):
            module.in_bfloat16 = _multiplies_bfloat16(device)
    average = Network(config.network_shape()).to(device)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4, fused=True
    )
    return Run(network, average, optimizer)


def trained_network(path: Path) -> Network:
    """The float network in a weight file that a run wrote. Raises ConfigError where it holds an exported one."""
    network = read_weights(path).network
    if not isinstance(network, Network):
        raise ConfigError(f"{path}: is an exported weight file; name the one that the training run wrote")
    return network


def start_from(network: Network, path: Path) -> None:
    """Take over the weights at `path`. Blocks that they lack keep adding 0, so `network` starts where they ended."""
    given = trained_network(path).state_dict()
    own = network.state_dict()
    for name, values in given.items():
        if name not in own or own[name].shape != values.shape:
            raise ConfigError(f"{path}: its {name} does not fit the `shape` configured; keep widths and groups")
    network.load_state_dict(own | given)


def _multiplies_bfloat16(device: torch.device) -> bool:
    return device.type == "cuda" or torch.cpu.get_capabilities().get("avx512_bf16", False)


def _loop(
    config: TrainConfig, run: Run, crops: Crops, validation: Validation, device: torch.device, report: Report
) -> None:
    started = time.monotonic() - 60 * run.minutes
    next_checkpoint = run.minutes + config.checkpoint_minutes
    next_validation = run.minutes + config.validation_minutes
    gradients = BatchGradients(run.network, config.threads)
    recent: list[Outcome] = []
    while run.minutes < config.minutes:
        part = run.minutes / config.minutes
        rate = _set_learning_rate(run, config.learning_rate, part)
        recent.append(_step(config, run, crops, gradients, device))
        run.step += 1
        run.minutes = (time.monotonic() - started) / 60
        if run.step % _LOG_EVERY == 0:
            report(part, _log(config.out / LOG, run, recent, rate))
            recent.clear()
        if run.minutes >= next_validation:
            _validate(config, run, unfitted(run.average), validation, report)
            next_validation = run.minutes + config.validation_minutes
        if run.minutes >= next_checkpoint:
            _save(config, run)
            next_checkpoint = run.minutes + config.checkpoint_minutes
    _save(config, run)


def _step(config: TrainConfig, run: Run, crops: Crops, gradients: BatchGradients, device: torch.device) -> Outcome:
    """One step on the crops and λ that belong to the step's number, however often the run was resumed."""
    rng = np.random.default_rng((config.seed, run.step))
    planes = torch.from_numpy(crops.batch(config.batch, rng)).to(device)
    lmbda = _sample_lmbda(config, run.network.shape, rng).to(device)
    outcome = gradients(planes, lmbda, run.step)
    norm = float(nn.utils.clip_grad_norm_(run.network.parameters(), _CLIP_RATIO * run.gradient_norm))
    usual = run.gradient_norm
    run.gradient_norm = norm if math.isinf(usual) else 0.98 * usual + 0.02 * min(norm, 3 * usual)
    run.optimizer.step()
    _average(run, config.ema)
    return outcome


def _sample_lmbda(config: TrainConfig, shape: Shape, rng: np.random.Generator) -> Tensor:
    """λ log-uniform and stratified over the batch; in a part of the steps another λ in a corner of each crop."""
    position = (rng.permutation(config.batch) + rng.random(config.batch)) / config.batch
    if rng.random() < config.map_part:
        side = config.crop // STRIDES[0]
        other = rng.random(config.batch)
        cut = rng.integers(1, side, (2, config.batch))
        maps = np.tile(position[:, None, None], (1, side, side))
        for i in range(config.batch):
            maps[i, : cut[0, i], : cut[1, i]] = other[i]
        position = maps
    values = shape.lmbda_min * (shape.lmbda_max / shape.lmbda_min) ** position
    return torch.from_numpy(values.astype(np.float32))


def _set_learning_rate(run: Run, peak: float, part: float) -> float:
    rate = peak * min(1.0, (run.step + 1) / _WARM_UP_STEPS) * max(0.0, 1 - part) ** _DECAY_POWER + 1e-6
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    return rate


@torch.no_grad()
def _average(run: Run, decay: float) -> None:
    decay = min(decay, (run.step + 1) / (run.step + 10))
    pairs = list(zip(run.average.parameters(), run.network.parameters(), strict=True))
    torch._foreach_lerp_([a for a, _ in pairs], [p for _, p in pairs], 1 - decay)


def _log(path: Path, run: Run, recent: list[Outcome], rate: float) -> str:
    """Append a row of means since the last one, and return it as a line to show."""
    nats = {s: float(np.mean([o.nats[s].item() for o in recent])) for s in STRIDES}
    bpp = {f"bpp_{s}": round(value / math.log(2), 4) for s, value in nats.items()}
    row = {
        "step": run.step,
        "minutes": round(run.minutes, 2),
        "loss": round(float(np.mean([o.loss.item() for o in recent])), 4),
        "psnr": round(-10 * math.log10(np.mean([o.squared_error.item() for o in recent])), 2),
        **bpp,
        "learning_rate": f"{rate:.2e}",
    }
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
    return "  ".join(f"{key} {value}" for key, value in row.items())


def _validate(config: TrainConfig, run: Run, model: Model, validation: Validation, report: Report) -> None:
    found = validation(model)
    run.curve = [entry for entry in run.curve if entry["step"] < run.step]
    run.curve.append({"step": run.step, "minutes": round(run.minutes, 2), **found})
    line = "  ".join(f"{p['bpp']:.3f} bpp {p['psnr']:.2f} dB" for p in found["points"])
    against = ", ".join(f"{rate:+.1f} % to {name}" for name, rate in found["bd_rate"].items() if rate is not None)
    report(run.minutes / config.minutes, f"validation: {line}  BD-rate {against or 'not comparable'}")


def _save(config: TrainConfig, run: Run) -> None:
    write_file(config.out / CHECKPOINT, checkpoint_bytes(run.state()), overwrite=True)


def _publish(
    config: TrainConfig, run: Run, sources: Sequence[Source], validation: Validation, report: Report
) -> Path:
    """Write the weights, named by their fingerprint, with their card; returns the path of the weights."""
    report(1.0, "fitting the probability tables")
    unnamed = config.out / "weights.safetensors"
    network = copy.deepcopy(run.average).cpu().half().float()  # so that the file takes two bytes a weight
    fingerprint = save_weights(network, unnamed, fit_tables(network, spread_over(sources, TABLE_IMAGES)))
    named = config.out / f"qarv-{fingerprint}.safetensors"
    unnamed.replace(named)
    _validate(config, run, read_weights(named), validation, report)
    _save(config, run)
    parameters = sum(parameter.numel() for parameter in run.average.parameters())
    card = card_text(config, fingerprint, parameters, run.state())
    write_file(named.with_suffix(".md"), card.encode(), overwrite=True)
    return named
