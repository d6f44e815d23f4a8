"""Normalisation: its arithmetic by hand, and where its statistics come from."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from service.metalearning.normalisation import (
    EPSILON,
    MOMENTUM,
    BatchStatistics,
    Normalisation,
    move_buffers,
    named_statistics,
    weighted_moments,
)
from tests.metalearning.small_tasks import make_network

# One channel, two images of two pixels: mean 3, biased variance (4 + 0 + 0 + 4) / 4 = 2.
MAPS = torch.tensor([[[[1.0, 3.0]]], [[[3.0, 5.0]]]], dtype=torch.float64)


def test_a_batch_is_normalised_by_its_mean_and_biased_variance() -> None:
    normalised = Normalisation(1).double()(MAPS, BatchStatistics())
    torch.testing.assert_close(normalised, (MAPS - 3) / (2 + EPSILON) ** 0.5)


def test_the_moments_of_a_batch_are_left_with_the_caller() -> None:
    batch, layer = BatchStatistics(), Normalisation(1).double()
    layer(MAPS, batch)
    mean, variance = batch.moments[layer]
    torch.testing.assert_close(mean, torch.tensor([3.0]).double())
    torch.testing.assert_close(variance, torch.tensor([2.0]).double())


def test_equal_weights_are_no_weights(generator: torch.Generator) -> None:
    maps, layer = torch.randn(5, 3, 4, 4, generator=generator).double(), Normalisation(3).double()
    plain, weighted = BatchStatistics(), BatchStatistics(torch.full((5,), 0.2).double())
    torch.testing.assert_close(layer(maps, weighted), layer(maps, plain))
    torch.testing.assert_close(weighted.moments[layer], plain.moments[layer])


def test_an_image_of_double_weight_counts_as_two(generator: torch.Generator) -> None:
    maps = torch.randn(2, 3, 4, 4, generator=generator).double()
    doubled = weighted_moments(maps, torch.tensor([2 / 3, 1 / 3]).double())
    torch.testing.assert_close(doubled, weighted_moments(maps[[0, 0, 1]], torch.full((3,), 1 / 3).double()))


def test_without_a_batch_the_buffers_normalise() -> None:
    layer = Normalisation(1).double()
    layer.mean.fill_(1)
    layer.variance.fill_(4 - EPSILON)
    torch.testing.assert_close(layer(MAPS), (MAPS - 1) / 2)


def test_a_tasks_statistics_can_stand_in_for_the_buffers() -> None:
    statistics = {"mean": torch.tensor([3.0]).double(), "variance": torch.tensor([2.0]).double()}
    layer = Normalisation(1).double()
    torch.testing.assert_close(functional_call(layer, statistics, (MAPS,)), layer(MAPS, BatchStatistics()))


def test_weight_and_bias_scale_and_shift() -> None:
    layer = Normalisation(1).double()
    torch.nn.init.constant_(layer.weight, 2.0)
    torch.nn.init.constant_(layer.bias, 7.0)
    torch.testing.assert_close(layer(MAPS, BatchStatistics()), 2 * (MAPS - 3) / (2 + EPSILON) ** 0.5 + 7)


@pytest.mark.parametrize("batch", [None, BatchStatistics(), BatchStatistics(torch.tensor([0.5, 0.5]).double())])
def test_a_pass_leaves_the_buffers_alone(batch: BatchStatistics | None) -> None:
    layer = Normalisation(1).double().train()
    layer(MAPS, batch)
    assert layer.mean.tolist() == [0.0]
    assert layer.variance.tolist() == [1.0]


def test_buffers_move_when_they_are_told_to() -> None:
    batch, layer = BatchStatistics(), Normalisation(1).double()
    layer(MAPS, batch)
    move_buffers(batch)
    assert layer.mean.item() == pytest.approx(MOMENTUM * 3)
    assert layer.variance.item() == pytest.approx((1 - MOMENTUM) * 1 + MOMENTUM * 2)


def test_statistics_are_differentiable_twice(generator: torch.Generator) -> None:
    layer = Normalisation(2).double()
    weights = torch.tensor([0.2, 0.3, 0.5]).double()
    maps = torch.randn(3, 2, 2, 2, generator=generator).double().requires_grad_()
    assert gradcheck(lambda x: layer(x, BatchStatistics(weights)), (maps,))
    assert gradgradcheck(lambda x: layer(x, BatchStatistics(weights)), (maps,))


def test_a_batch_of_tasks_is_normalised_task_by_task(generator: torch.Generator) -> None:
    layer, tasks = Normalisation(3).double(), torch.randn(4, 5, 3, 2, 2, generator=generator).double()
    weights = torch.full((5,), 0.2).double()
    together = torch.vmap(lambda maps: layer(maps, BatchStatistics(weights)))(tasks)
    torch.testing.assert_close(together, torch.stack([layer(maps, BatchStatistics(weights)) for maps in tasks]))


def test_statistics_have_the_names_of_the_buffers(generator: torch.Generator) -> None:
    network, batch = make_network(), BatchStatistics()
    network(torch.randn(3, 1, 8, 8, generator=generator).double(), batch)
    buffers = {f"backbone.{name}" for name, _ in network.backbone.named_buffers()}
    assert named_statistics(network, batch).keys() == buffers
