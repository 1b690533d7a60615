"""Turns a trained float network into the exact one that files are made with (see qarv/exact.py), and proves it.

Weights become integers with a scale for each output; λ's tables are computed for all its 256 steps. The proof is
arithmetic on the integers that are written: the largest that any sum can get, whatever the picture.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from inspect_compress.bd import Point, bd_rate
from inspect_compress.errors import ConfigError, InspectCompressError
from inspect_compress.files import write_file
from inspect_compress.images import Image
from inspect_compress.qarv.exact import (
    FRACTION_BITS,
    GREY_FRACTIONS,
    ExactNetwork,
)
from inspect_compress.qarv.fused import fastest_layers
from inspect_compress.qarv.layers import Tensors, below
from inspect_compress.qarv.likelihood import LOG_SCALE_MIN, LOG_SCALE_STEP
from inspect_compress.qarv.network import LMBDA_STEPS, Block, Latent, Network
from inspect_compress.qarv.products import NARROW, SHIFT_FRACTIONS, WIDE, halvings, shifted_bias
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.weights import Model, read_weights, save_exact_weights
from inspect_compress.training.calibration import Activations, best_scale, decoder_blocks, watch
from inspect_compress.training.config import TrainConfig
from inspect_compress.training.data import load_sources, spread_over
from inspect_compress.training.loop import TABLE_IMAGES, trained_network
from inspect_compress.training.tables import fit_tables
from inspect_compress.training.validation import rd_curve

EXACT_32 = float(1 << 24)
"""Up to this size float32 holds every integer; 8-bit products are summed in 32 bits, so in more."""
EXACT_INT = float(1 << 31)
"""What sums of wide products are held in: 32-bit integers, or float64."""

_FILTER_SUM = 500
"""The most that the weights of a depthwise filter may sum to, so that they and a bias stay under EXACT_32."""
_CHANNEL_SUM = 0.98 * EXACT_32
"""The most that rounded, filtered values of one place may sum to over its channels."""
_WIDE_SUM = 65_500
"""The same for a row of wide weights and EXACT_INT."""
_EPSILON = 1e-6
"""What layer norm adds to the variance."""
_CALIBRATION_IMAGES, _CALIBRATION_SIDE = 16, 320
"""Training images of each source that scales are chosen on, and the part of each that is looked at."""
_LEAST_SCALE = 1e-12
_BIAS_LIMIT = float(1 << 17)
"""The most that a bias, in the units of its layer's sums, may come to."""
_GREY = 255 * GREY_FRACTIONS


class ExportError(InspectCompressError):
    """A network cannot be made exact; the message names the layer."""


Scales = Mapping[str, tuple[Tensor, Tensor]]
"""By a block's name: the steps of its activations before and after its first layer, each `(channels,)`."""


def export_weights(
    weights: Path, config: TrainConfig, out: Path, report: Callable[[str], None], *, least: Scales | None = None
) -> Path:
    """Write the exact weight file for a float one, and its card, into `out`; returns the path of the weights.

    The images of `config`, the run's, are calibrated on, with scales of no less than `least`; those it held out
    measure what exactness costs. Raises ConfigError, DatasetError and ExportError.
    """
    network = trained_network(weights)
    card = _read_card(weights)
    sources, held_out = load_sources(config.sources, config.validation_images)
    report("calibrating")
    tensors = export(network, [_centre(image) for image in spread_over(sources, _CALIBRATION_IMAGES)], least)
    for layer, part in prove(tensors).items():
        report(f"largest sum in {layer}: {part:.3f} of what is exact")
    report("fitting the probability tables")
    exact = ExactNetwork(network.shape, tensors, fastest_layers())
    tables = fit_tables(exact, spread_over(sources, TABLE_IMAGES))
    unnamed = out / "weights.safetensors"
    fingerprint = save_exact_weights(network.shape, tensors, tables, unnamed)
    named = out / f"qarv-{fingerprint}.safetensors"
    unnamed.replace(named)
    report("measuring")
    cost = _cost(read_weights(weights), read_weights(named), held_out)
    report(f"BD-rate against the float weights: {cost}")
    write_file(named.with_suffix(".md"), _card(card, weights.stem, fingerprint, cost).encode(), overwrite=True)
    return named


def _cost(trained: Model, exact: Model, images: Sequence[Image]) -> str:
    """BD-rate of the exact model against the float one, from real files, in words."""

    def curve(model: Model) -> list[Point]:
        return [(point["bpp"], point["psnr"]) for point in rd_curve(model, images)]

    found = bd_rate(curve(trained), curve(exact))
    return found.reason if found.percent is None else f"{found.percent:+.2f} %"


def _read_card(weights: Path) -> str:
    card = weights.with_suffix(".md")
    try:
        return card.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{card}: the card of the weights cannot be read: {error.strerror}") from error


def _card(trained: str, name: str, fingerprint: str, cost: str) -> str:
    """The card of the float weights, with a note of what they became."""
    _, _, rest = trained.partition("\n")
    note = (
        f"Exact weights, exported from `{name}`, whose training is described below. BD-rate against those weights in "
        f"float, on the same held-out images: {cost}. They decode alike on every machine (docs/exactness.md)."
    )
    return f"# QARV weights {fingerprint}\n\n{note}\n{rest}"


def _centre(image: Image) -> Image:
    height, width = (side // 2 for side in image.shape[:2])
    half = _CALIBRATION_SIDE // 2
    return image[max(0, height - half) : height + half, max(0, width - half) : width + half]


def scales_of(network: Network, tensors: Tensors) -> Scales:
    """The scales that the tensors of an ExactNetwork were made with; `network` is what it was exported from."""
    embedding, _ = _tables_of_lmbda(network)
    found = {}
    for name, block in decoder_blocks(network).items():
        gain, _ = block.adapt(embedding).chunk(2, -1)
        adapted = ((1 + gain) / tensors[f"{name}.scale"].float()).median(0).values
        up_scale = _up_scale(block, adapted)
        found[name] = (adapted, up_scale * torch.exp2(tensors[f"{name}.up_exponent"].float()))
    return found


def export(network: Network, images: Sequence[Image], least: Scales | None = None) -> dict[str, Tensor]:
    """The tensors of an ExactNetwork of the same shape, calibrated on training images; see `export_weights`.

    Raises ExportError where a sum could leave what float32 holds exactly.
    """
    activations = watch(network, images)
    tables = _tables_of_lmbda(network)
    tensors = {f"encoder.{name}": value.half() for name, value in network.state_dict().items() if _of_encoder(name)}
    tensors["halved_steps"] = torch.tensor(
        round(math.log(4) / math.log(network.shape.lmbda_of(1) / network.shape.lmbda_of(0)))
    )
    tensors["start"] = _feature_integers(network.start, 32).to(torch.int16)
    for stride in STRIDES:
        latents = cast(Sequence[Latent], getattr(network, f"latents_{stride}"))
        ends = pairwise(network.shape.groups(stride))
        for number, (latent, (first, last)) in enumerate(zip(latents, ends, strict=True)):
            name = f"latents_{stride}.{number}"
            _add(tensors, name, _latent(latent, slice(first, last), tables))
            for block_number, block in enumerate(latent.blocks):
                block_name = f"{name}.blocks.{block_number}"
                block_tensors = _block(
                    cast(Block, block), stride, activations[block_name], tables, (least or {}).get(block_name)
                )
                _add(tensors, block_name, block_tensors)
    for number, block in enumerate(network.out):
        block_name = f"out.{number}"
        block_tensors = _block(cast(Block, block), 8, activations[block_name], tables, (least or {}).get(block_name))
        _add(tensors, block_name, block_tensors)
    for stride, layer in ((16, network.double_16), (8, network.double_8)):
        _add(tensors, f"double_{stride}", _wide(layer.weight, _unit(2 * stride), 1 / _unit(stride)))
        tensors[f"double_{stride}.bias"] = layer.bias / _unit(stride)
    _add(tensors, "leave", _wide(network.leave.weight.flatten(1).T, _unit(8), _GREY))
    tensors["leave.bias"] = ((network.leave.bias + 0.5) * _GREY).round()
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    prove(tensors)
    return tensors


def prove(tensors: dict[str, Tensor]) -> dict[str, float]:
    """The largest that sums can get in each kind of layer, whatever the picture, as a part of what is held exactly.

    Raises ExportError that names the layer, where one reaches 1.
    """
    worst: dict[str, float] = {}
    for name, most in _largest_sums(tensors):
        kind = name.split(".")[-1] if "." in name else name
        worst[kind] = max(worst.get(kind, 0), most)
        if not most < 1:
            raise ExportError(f"{name}: a sum could reach {most:.2f} times what is exact; train with smaller weights")
    return worst


def _largest_sums(tensors: dict[str, Tensor]) -> Iterator[tuple[str, float]]:
    """Names of layers, and the largest sum that each could reach, as a part of what is held exactly."""
    for name, weight in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "depthwise":
            most = _row_sums(weight) * WIDE + tensors[f"{name}_bias"].abs()
            yield name, float(most.max()) / EXACT_32
            rounded = most * halvings(tensors[f"{name}_exponent"]) + 0.5
            yield f"{layer}.mean", float(rounded.sum()) / EXACT_32
        elif kind == "up":
            bias = shifted_bias(below(tensors, layer)).double().abs().amax(0) / halvings(tensors[f"{name}_exponent"])
            yield name, float((_row_sums(weight) * NARROW + bias).max()) / EXACT_32
        elif kind == "down":
            yield name, float(_row_sums(weight).max()) * NARROW / EXACT_32
        elif kind == "context":
            most = _row_sums(weight) * NARROW + tensors[f"{name}_bias"].abs()
            yield name, float(most.max()) / EXACT_32
        elif f"{layer}.scale" in tensors and kind == "weight":
            yield name, float(_row_sums(weight).max()) * WIDE / EXACT_INT
    patch = _row_sums(tensors["leave.weight"]) * WIDE * tensors["leave.scale"] + 1
    yield "overlap", float(4 * patch.max() + tensors["leave.bias"].abs()) / EXACT_32


def _row_sums(weight: Tensor) -> Tensor:
    return weight.double().abs().flatten(1).sum(1)


def _of_encoder(name: str) -> bool:
    return name.split(".")[0] in ("embed", "enter", "up_8", "up_16", "up_32", "halve_16", "halve_32")


def _tables_of_lmbda(network: Network) -> tuple[Tensor, Tensor]:
    """The embedding, `(256, E)`, and the logarithm, `(256, 1)`, of each λ."""
    lmbda = torch.tensor([network.shape.lmbda_of(index) for index in range(LMBDA_STEPS)])
    conditions = network.conditions(lmbda)
    return conditions.embedding[:, 0, 0], conditions.log_lmbda[:, 0, 0]


def _up_scale(block: Block, adapted: Tensor) -> Tensor:
    return _scales(block.up.weight * adapted).maximum(block.up.bias.abs() / _BIAS_LIMIT)


def _block(
    block: Block,
    stride: int,
    seen: Activations,
    tables: tuple[Tensor, Tensor],
    floor: tuple[Tensor, Tensor] | None,
) -> dict[str, Tensor]:
    filters, filter_bias = block.depthwise.weight[:, 0].flatten(1), cast(Tensor, block.depthwise.bias)
    largest = filters.abs().sum(1) * WIDE * _unit(stride) + filter_bias.abs()
    step = _power_of_two_above(float(largest.sum()) / _CHANNEL_SUM)
    least = torch.maximum(filters.abs().amax(1) / NARROW, filters.abs().sum(1) / _FILTER_SUM)
    filter_exponent = _exponents(least * _unit(stride) / step, filter_bias / step)
    per_unit = torch.exp2(filter_exponent) / step
    adapted, hidden = best_scale(seen.adapted), best_scale(seen.hidden)
    if floor:
        adapted, hidden = adapted.maximum(floor[0]), hidden.maximum(floor[1])
    gain, shift = block.adapt(tables[0]).chunk(2, -1)
    up_scale = _up_scale(block, adapted)
    up = (block.up.weight * adapted / up_scale[:, None]).round().to(torch.int8)
    up_exponent = torch.log2(hidden / up_scale).round().clamp_min(1)
    hidden = up_scale * torch.exp2(up_exponent)
    down, down_scale = _integers(block.down.weight * hidden)
    return {
        "depthwise": (block.depthwise.weight * (per_unit * _unit(stride))[:, None, None, None])
        .round()
        .to(torch.int8),
        "depthwise_exponent": filter_exponent.to(torch.int8),
        "depthwise_bias": (filter_bias * per_unit).round().to(torch.int32),
        "least_power": torch.tensor(_EPSILON / step**2, dtype=torch.float64),
        "scale": ((1 + gain) / adapted).half(),
        "shift": (shift / adapted * SHIFT_FRACTIONS).round().to(torch.int32),
        "up": up,
        "up_exponent": up_exponent.to(torch.int8),
        "up_bias": (block.up.bias / up_scale).round().to(torch.int32),
        "down": down,
        "down_scale": down_scale / _unit(stride),
        "down_bias": block.down.bias / _unit(stride),
    }


def _latent(latent: Latent, own: slice, tables: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    embedding, log_lmbda = tables
    unit, channels = _unit(latent.stride), latent.channels
    log_gain = latent.log_gain(embedding, log_lmbda)
    gain = torch.exp(log_gain)
    tensors = {"gain": gain, "step": 1 / (gain * unit)}
    for parity, prior in enumerate(cast(Sequence[nn.Linear], latent.prior)):
        row, row_scale = _integers(prior.weight[channels:])
        offset = prior.bias[channels:] + log_gain + latent.scale_offset(embedding)
        tensors |= {
            f"row.{parity}.weight": row,
            f"row.{parity}.scale": row_scale * unit / LOG_SCALE_STEP,
            f"row_table.{parity}": (offset - LOG_SCALE_MIN) / LOG_SCALE_STEP,
            f"mean.{parity}.weight": prior.weight[:channels].half(),
            f"mean.{parity}.bias": prior.bias[:channels].half(),
        }
    beside = latent.back.weight.clone()
    beside[own] -= torch.eye(channels)
    back, back_scale = _integers(beside)
    context_exponent = _exponents(_scales(latent.context.weight) / 16 / unit, latent.context.bias / unit)
    per_unit = torch.exp2(context_exponent) / unit
    tensors |= {
        "back.weight": back,
        "back.scale": back_scale,
        "context": (latent.context.weight / 16 * per_unit[:, None]).round().to(torch.int8),
        "context_exponent": context_exponent.to(torch.int8),
        "context_bias": (latent.context.bias * per_unit).round().to(torch.int32),
    }
    posterior = {n: v for n, v in latent.state_dict().items() if n.startswith("posterior")}
    return tensors | {f"encoder.{name}": value.half() for name, value in posterior.items()}


def _wide(weight: Tensor, unit_in: float, per_unit_out: float) -> dict[str, Tensor]:
    scale = torch.maximum(weight.abs().amax(1) / WIDE, weight.abs().sum(1) / _WIDE_SUM).clamp_min(_LEAST_SCALE)
    return {
        "weight": (weight / scale[:, None]).round().to(torch.int16),
        "scale": scale * unit_in * per_unit_out,
    }


def _integers(weight: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit weights, `(N, K)`, and the scale of each row."""
    scale = _scales(weight)
    return (weight / scale[:, None]).round().to(torch.int8), scale


def _scales(weight: Tensor) -> Tensor:
    """The least scale of each row with which its weights fit 8 bits."""
    return (weight.abs().amax(1) / NARROW).clamp_min(_LEAST_SCALE)


def _exponents(scale: Tensor, bias: Tensor) -> Tensor:
    """The largest k for which 2^-k is no less than a scale, and a bias, in such units, not too large."""
    return torch.floor(-torch.log2(scale.maximum(bias.abs() / _BIAS_LIMIT)))


def _power_of_two_above(value: float) -> float:
    return 2.0 ** math.ceil(math.log2(value))


def _feature_integers(values: Tensor, stride: int) -> Tensor:
    return (values / _unit(stride)).round().clamp(-WIDE, WIDE)


def _unit(stride: int) -> float:
    return 2.0 ** -FRACTION_BITS[stride]


def _add(tensors: dict[str, Tensor], prefix: str, more: dict[str, Tensor]) -> None:
    tensors |= {f"{prefix}.{name}": value for name, value in more.items()}
