"""The network before any training is a classical codec: complete, with a rate that follows λ."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from inspect_compress.qarv.lapped import lapped_basis
from inspect_compress.qarv.network import Network, Prediction, Shape, cell_side, places_of, whole_cells
from inspect_compress.training.objective import evaluate_batch


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


def exact(_prediction: Prediction, residual: Tensor | None) -> Tensor:
    """Passes on what the encoder wants without rounding it."""
    assert residual is not None
    return residual


def test_the_lapped_basis_is_orthonormal() -> None:
    flat = lapped_basis().reshape(64, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(64), atol=1e-12)


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("size", [(64, 96), (8, 8), (40, 200)], ids=str)
@torch.inference_mode()
def test_without_rounding_the_untrained_network_returns_its_input(folded: bool, size: tuple[int, int]) -> None:
    network = Network(Shape(folded=folded)).eval()
    planes = torch.rand(2, 1, *size)
    conditions = network.conditions(torch.tensor([100.0, 5000.0]))
    features = network.top_down(size, conditions, exact, network.bottom_up(whole_cells(planes), conditions))
    rows, columns = (slice(network.shape.margin, side - network.shape.margin) for side in size)
    torch.testing.assert_close(
        network.render(features, conditions)[..., rows, columns], planes[..., rows, columns], rtol=0, atol=1e-4
    )


@torch.inference_mode()
def test_a_folded_analysis_keeps_the_energy_with_as_many_coefficients_as_samples(network: Network) -> None:
    planes = torch.rand(1, 1, 64, 96)
    features = network.enter(planes)[..., :64]
    assert features.numel() == planes.numel()
    torch.testing.assert_close(features.square().sum() / 4, planes.square().sum())  # features are scaled by 2


@pytest.mark.parametrize("stride", [8, 16])
@given(side=st.integers(1, 400))
def test_positions_of_every_stride_look_up_the_cell_that_they_lie_in(stride: int, side: int) -> None:
    (places, _), (cells, _) = places_of((side, 1), stride), places_of((side, 1), 32)
    each = cell_side(places, cells)
    assert [place // each for place in range(places)] == [place * stride // 32 for place in range(places)]


@torch.inference_mode()
def test_from_the_first_step_the_rate_follows_lambda(network: Network) -> None:
    planes = torch.nn.functional.interpolate(torch.rand(1, 1, 16, 16), size=(96, 96), mode="bicubic")
    outcomes = [
        evaluate_batch(network, planes, torch.tensor([lmbda]), torch.Generator()) for lmbda in (16.0, 360.0, 8192.0)
    ]
    nats = [sum(outcome.nats.values()).item() for outcome in outcomes]
    errors = [outcome.squared_error.item() for outcome in outcomes]
    assert nats == sorted(nats)
    assert errors == sorted(errors, reverse=True)


@torch.inference_mode()
def test_a_map_of_one_lambda_is_that_lambda(network: Network) -> None:
    planes = torch.rand(1, 1, 64, 64)
    uniform = network.conditions(torch.tensor([500.0]))
    mapped = network.conditions(torch.full((1, 2, 2), 500.0))
    expected = network.top_down((64, 64), uniform, exact, network.bottom_up(planes, uniform))
    actual = network.top_down((64, 64), mapped, exact, network.bottom_up(planes, mapped))
    torch.testing.assert_close(actual, expected)
