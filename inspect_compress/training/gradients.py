"""Gradients of a batch, its crops dealt out to CPU threads that work side by side.

Each thread computes a part of the batch on one torch thread. That is faster than torch's own threads, which wait
for each other at every operation, and it keeps its pace when other processes want the cores. A GPU takes the
batch as one part.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from inspect_compress.qarv.network import Network
from inspect_compress.qarv.strides import STRIDES
from inspect_compress.training.objective import Outcome, evaluate_batch


class BatchGradients:
    """Call with planes `(B, 1, H, W)`, λ as `(B,)` or maps, and a seed; leaves the mean gradient in `.grad`."""

    def __init__(self, network: Network, threads: int) -> None:
        self._network = network
        self._parameters = list(network.parameters())
        self._parts = threads if self._parameters[0].device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self._parts)
        torch.set_num_threads(1)

    def __call__(self, planes: Tensor, lmbda: Tensor, seed: int) -> Outcome:
        parts = min(self._parts, len(planes))
        seeds = range(seed * parts, (seed + 1) * parts)
        done = list(self._pool.map(self._part, planes.chunk(parts), lmbda.chunk(parts), seeds))
        shares = [len(part) / len(planes) for part in planes.chunk(parts)]
        for parameter, gradients in zip(self._parameters, zip(*(g for _, g in done), strict=True), strict=True):
            parameter.grad = _weighted(gradients, shares)
        return _mean([outcome for outcome, _ in done], shares)

    def _part(self, planes: Tensor, lmbda: Tensor, seed: int) -> tuple[Outcome, tuple[Tensor, ...]]:
        noise = torch.Generator(planes.device).manual_seed(seed)
        outcome = evaluate_batch(self._network, planes, lmbda, noise)
        return outcome, torch.autograd.grad(outcome.loss, self._parameters)


def _mean(outcomes: list[Outcome], shares: list[float]) -> Outcome:
    return Outcome(
        _weighted((o.loss.detach() for o in outcomes), shares),
        {stride: _weighted((o.nats[stride].detach() for o in outcomes), shares) for stride in STRIDES},
        _weighted((o.squared_error.detach() for o in outcomes), shares),
    )


def _weighted(values: Iterable[Tensor], shares: list[float]) -> Tensor:
    return torch.stack([value * share for value, share in zip(values, shares, strict=True)]).sum(0)
