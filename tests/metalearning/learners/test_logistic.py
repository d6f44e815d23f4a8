"""Logistic regression: a case on paper, the minimum, its derivative, and what it does not depend on."""

import math

import pytest
import torch
from torch.nn import functional as F

from service.errors import InvalidOption
from service.metalearning.episodes import SupportSet
from service.metalearning.learners.base import balanced_loss, balanced_targets
from service.metalearning.learners.logistic import Linear, conjugate_gradients
from tests.metalearning.small_tasks import (
    copied_class,
    make_episode,
    make_network,
    make_support_set,
    random_direction,
    slope_by_differences,
    slope_by_gradient,
)


def test_two_mirrored_images_are_what_paper_gives() -> None:
    # Images at 1 and -1, rows w and -w: the loss is log(1 + e^(-2 w)) + penalty w^2, whose derivative is zero where
    # penalty w = 1 / (1 + e^(2 w)). With w = 1 that is the penalty 1 / (1 + e^2).
    penalty = 1 / (1 + math.exp(2))
    head = Linear(make_network(), penalty=penalty).head(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))
    torch.testing.assert_close(head["head.weight"], torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(head["head.bias"], torch.zeros(2))


@pytest.mark.parametrize("n_shot", [1, 5])
@pytest.mark.parametrize("penalty", [1e-4, 0.01, 1.0, 100.0])
@pytest.mark.parametrize("length", [0.01, 1.0, 100.0])
def test_no_small_change_of_the_head_is_better(
    n_shot: int, penalty: float, length: float, generator: torch.Generator
) -> None:
    labels = torch.arange(3).repeat(n_shot)
    features = length * torch.randn(len(labels), 6, generator=generator).double()
    head = Linear(make_network(), penalty=penalty).head(features, labels)
    weight, bias = (tensor.detach().requires_grad_() for tensor in head.values())
    loss = balanced_loss(F.linear(features, weight, bias), balanced_targets(labels, torch.float64))
    slopes = torch.autograd.grad(loss + penalty / 2 * weight.square().sum(), [weight, bias])
    assert max(slope.abs().max().item() for slope in slopes) < 1e-7 * max(1.0, length)


def test_classes_that_no_line_parts_have_a_head_too() -> None:
    features, labels = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), torch.tensor([0, 0, 1, 1])
    head = Linear(make_network(), penalty=1e-6).head(features, labels)
    torch.testing.assert_close(dict(head), {"head.weight": torch.zeros(2, 1), "head.bias": torch.zeros(2)})


def test_the_weights_do_not_see_how_large_a_class_is(generator: torch.Generator) -> None:
    learner, support = Linear(make_network()), make_support_set(generator)
    often, once = learner.adapt(copied_class(support, 1, copies=4)), learner.adapt(support)
    torch.testing.assert_close(often["head.weight"], once["head.weight"])


def test_copies_of_every_image_change_nothing(generator: torch.Generator) -> None:
    learner, support = Linear(make_network()), make_support_set(generator)
    copied = SupportSet(support.images.repeat(3, 1, 1, 1), support.labels.repeat(3))
    torch.testing.assert_close(dict(learner.adapt(copied)), dict(learner.adapt(support)))


@pytest.mark.parametrize("counts", [(2, 2, 2), (1, 2, 4)])
@pytest.mark.parametrize("statistics", ["running", "support"])
def test_the_meta_gradient_is_that_of_the_minimum(
    statistics: str, counts: tuple[int, ...], generator: torch.Generator
) -> None:
    learner = Linear(make_network(statistics=statistics), penalty=0.1).double()
    episodes = [make_episode(generator, counts=counts), make_episode(generator, counts=counts)]
    direction = random_direction(learner, generator)
    assert "log_penalty" in direction
    learner.backward(episodes)
    analytic = slope_by_gradient(learner, direction)
    numeric = slope_by_differences(learner, direction, lambda: learner.backward(episodes))
    torch.testing.assert_close(numeric, analytic, rtol=1e-4, atol=1e-6)


def test_the_penalty_is_learned(generator: torch.Generator) -> None:
    learner = Linear(make_network())
    learner.backward([make_episode(generator)])
    torch.optim.SGD(learner.parameters(), lr=0.1).step()
    assert learner.settings()["penalty"] != pytest.approx(0.01, rel=1e-4)


def test_features_that_double_precision_cannot_fit_are_refused() -> None:
    features = torch.tensor([[1e150], [-1e150]]).double()
    with pytest.raises(InvalidOption, match="did not converge: raise penalty"):
        Linear(make_network(), penalty=1e-6).head(features, torch.tensor([0, 1]))


def test_conjugate_gradients_solve_a_system_on_paper() -> None:
    matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]]).double()
    found = conjugate_gradients(lambda x: x @ matrix, torch.tensor([[1.0, 2.0]]).double(), accuracy=1e-12)
    torch.testing.assert_close(found, torch.tensor([[1 / 11, 7 / 11]]).double())
