"""How large the activations of a decoder get on training images: what fixed-point scales are chosen from."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from inspect_compress.images import Image
from inspect_compress.qarv.coding import code_image, difference_planes_are_halved, render_parts
from inspect_compress.qarv.lmbda_map import everywhere, grid
from inspect_compress.qarv.network import LMBDA_STEPS, Block, Network
from inspect_compress.qarv.products import NARROW
from inspect_compress.qarv.rounding import Rounding
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.qarv.tables import gaussian_tables

_SAMPLES_A_CALL = 128
_CLIPPINGS = torch.linspace(0.25, 1, 16)
"""Parts of the largest value seen, beyond which a scale may clip."""


@dataclass
class Activations:
    """Samples, each `(N, channels)`, of what a block computes: normalised and scaled by λ, and after its ReLU."""

    adapted: list[Tensor] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)


class _Ignore:
    """Takes a level's symbols, as a LevelWriter does."""

    def put(self, symbols: object, rows: object) -> None: ...


def decoder_blocks(network: Network) -> dict[str, Block]:
    """The blocks of the top-down path by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Block) and not name.startswith("up_")
    }


def watch(network: Network, images: Sequence[Image]) -> dict[str, Activations]:
    """Run both paths on images, each at another λ, from the lowest to the highest; by the blocks' names."""
    rounding = Rounding(gaussian_tables())
    seen = {name: Activations() for name in decoder_blocks(network)}
    with ExitStack() as hooks:
        for name, block in decoder_blocks(network).items():
            hooks.enter_context(_watched(block, seen[name]))
        for number, image in enumerate(images):
            index = round(number / max(1, len(images) - 1) * (LMBDA_STEPS - 1))
            indexes = everywhere(index, grid(image.shape[0], image.shape[1], network.shape.margin))
            halved = difference_planes_are_halved(network, image, indexes)
            writers = dict.fromkeys(STRIDES, _Ignore())
            render_parts(network, code_image(network, image, indexes, rounding, writers, halved=halved))
    return seen


def _watched(block: Block, seen: Activations) -> ExitStack:
    shift = torch.zeros(())

    def adapt(_module: nn.Module, _inputs: tuple[Tensor, ...], table: Tensor) -> None:
        nonlocal shift
        shift = table[:, :1, :1].chunk(2, -1)[1]  # λ is the same all over a picture here

    def up(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.adapted.append(_some(inputs[0] - shift))

    def down(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.hidden.append(_some(inputs[0]))

    stack = ExitStack()
    stack.callback(block.adapt.register_forward_hook(adapt).remove)
    stack.callback(block.up.register_forward_pre_hook(up).remove)
    stack.callback(block.down.register_forward_pre_hook(down).remove)
    return stack


def _some(values: Tensor) -> Tensor:
    values = values.flatten(0, -2)
    return values[:: -(-len(values) // _SAMPLES_A_CALL)].clone()


def best_scale(samples: list[Tensor]) -> Tensor:
    """For each channel the step, `(channels,)`, with the least squared error of rounding to ±NARROW steps."""
    values = torch.cat(samples)
    most = values.abs().amax(0).clamp_min(1e-6)
    steps = _CLIPPINGS[:, None] * most / NARROW
    errors = torch.stack([(_rounded(values, step) - values).square().mean(0) for step in steps])
    return steps.gather(0, errors.argmin(0, keepdim=True))[0]


def _rounded(values: Tensor, step: Tensor) -> Tensor:
    return (values / step).round().clamp(-NARROW, NARROW) * step
