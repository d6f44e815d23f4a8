"""Ridge with a bias and mean errors: cases on paper, and classes of unequal size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.errors import InvalidOption
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.closed_form import Ridge
from tests.metalearning.small_tasks import make_network

N_FEATURES = 200


def test_the_intercept_is_a_constant_feature() -> None:
    # Inputs (1, 1) and (-1, 1) with targets (1, 0) and (0, 1): X^T X + 2 = diag(4, 4), so weights +-1/4, bias 1/4.
    ridge = Ridge(make_network(), penalty=2.0, scale=1.0, intercept=1.0)
    head = ridge.head(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))
    torch.testing.assert_close(head["head.weight"], torch.tensor([[0.25], [-0.25]]))
    torch.testing.assert_close(head["head.bias"], torch.tensor([0.25, 0.25]))


def test_mean_errors_do_not_count_images() -> None:
    ridge = Ridge(make_network(), penalty=0.5, intercept=1.0, loss="mean")
    features, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    once, often = ridge.head(features, labels), ridge.head(features.repeat(7, 1), labels.repeat(7))
    torch.testing.assert_close(dict(often), dict(once))


def test_the_bias_of_a_small_class_makes_up_for_its_variance() -> None:
    # One image at 1 against two at -1 -+ d; penalty 3, loss "mean", intercept 1. The variance within the large class
    # is 2 d^2 = 0.5; the small class takes it as typical: (0 + 0.5) / 1, the large one (0.5 + 0.5) / 2.
    features, labels = torch.tensor([[1.0], [-0.5], [-1.5]]).double(), torch.tensor([0, 1, 1])
    head = Ridge(make_network(), penalty=3.0, scale=1.0, intercept=1.0, loss="mean").head(features, labels)
    # X^T S X + 3 = [[1 + 1.25 + 3, 0], [0, 2 + 3]], X^T S Y = [[1, -1], [1, 1]].
    weight, bias = torch.tensor([1.0, -1.0]).double() / 5.25, 1 / 5
    # Residuals of the class means: 1 - w - b = 1 - 1 / 5.25 - 1 / 5 for both. Weights of an image: 1 and 1/2.
    residual = 1 - 1 / 5.25 - 1 / 5
    flattered = torch.tensor([1.0, 0.5]).double() / 3 * (1 - 1 / 2) * residual * 0.5
    torch.testing.assert_close(head["head.weight"].flatten(), weight)
    torch.testing.assert_close(head["head.bias"], bias + flattered)


@pytest.mark.parametrize("counts", [(3, 20), (3, 100), (8, 500), (1, 20)])
def test_a_small_class_is_found_as_often_as_a_large_one(counts: tuple[int, int], generator: torch.Generator) -> None:
    ridge = Ridge(make_network(), penalty=0.25, intercept=2.0, loss="mean")
    recalls = torch.stack([_recalls(ridge, counts, generator) for _ in range(30)]).mean(0)
    assert recalls.min() > 0.7
    assert (recalls[0] - recalls[1]).abs() < 0.12


def test_without_unequal_classes_nothing_is_added(generator: torch.Generator) -> None:
    ridge = Ridge(make_network(), penalty=0.5, scale=1.0, intercept=1.0, loss="mean")
    features = torch.randn(6, 10, generator=generator)
    mirrored = torch.cat([features, -features])
    head = ridge.head(mirrored, torch.arange(2).repeat_interleave(6))
    # Classes that mirror each other have their border at zero: equal biases.
    torch.testing.assert_close(head["head.bias"][0], head["head.bias"][1])


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(InvalidOption, match="loss is 'median', expected 'sum' or 'mean'"):
        LEARNERS["ridge"](make_network(), loss="median")


def _recalls(ridge: Ridge, counts: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Share of fresh points of two noisy classes of unit vectors that is found, in each class."""
    directions = torch.randn(2, N_FEATURES, generator=generator) * 0.5

    def drawn(n: tuple[int, int]) -> tuple[Tensor, Tensor]:
        labels = torch.arange(2).repeat_interleave(torch.tensor(n))
        noise = torch.randn(len(labels), N_FEATURES, generator=generator)
        return F.normalize(directions[labels] + noise, dim=1), labels

    head = ridge.head(*drawn(counts))
    query, labels = drawn((100, 100))
    right = F.linear(query, head["head.weight"], head["head.bias"]).argmax(1) == labels
    return right.float().reshape(2, 100).mean(1)
