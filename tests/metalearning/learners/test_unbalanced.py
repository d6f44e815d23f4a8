"""Classes of unequal size: what the bias makes up for, on paper and on noisy classes; ridge with a bias."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.errors import InvalidOption
from service.metalearning.header import Setting
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.closed_form import ProtoNet, Ridge
from service.metalearning.learners.gradient import ANIL
from service.metalearning.learners.head_learner import HeadLearner
from tests.metalearning.small_tasks import make_network

N_FEATURES = 200
HEADS: dict[str, dict[str, Setting]] = {
    "protonet": {},
    "ridge": {"penalty": 0.25, "intercept": 2.0, "loss": "mean"},
    "anil": {"steps": 20, "lr": 5.0, "start": "prototypes", "start_scale": 5.0},
}


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
    # One image at 1 against two at -1 -+ 0.5; penalty 3, loss "mean", intercept 1.
    features, labels = torch.tensor([[1.0], [-0.5], [-1.5]]).double(), torch.tensor([0, 1, 1])
    head = Ridge(make_network(), penalty=3.0, scale=1.0, intercept=1.0, loss="mean").head(features, labels)
    # X^T S X + 3 = [[1 + 1.25 + 3, 0], [0, 2 + 3]], X^T S Y = [[1, -1], [1, 1]].
    weight, bias = torch.tensor([1.0, -1.0]).double() / 5.25, 1 / 5
    # Class means are fitted as 1 / 5.25 + 1 / 5 in their own row and -1 / 5.25 + 1 / 5 in the other: the residuals
    # 1 - own and 0 - other differ by 1 - 2 / 5.25. An image of class 0 weighs 1, one of class 1 weighs 1/2, and the
    # variance is 0.5^2 + 0.5^2 over 3 images less 2 classes. Ridge takes three quarters of the share.
    lead = torch.tensor([1.0, 0.5]).double() * (1 - 2 / 5.25) / 3
    share = 0.75 * 0.5 * lead / 2
    torch.testing.assert_close(head["head.weight"].flatten(), weight)
    torch.testing.assert_close(head["head.bias"], bias + share - share.min())


def test_a_prototype_of_few_images_is_longer_than_the_mean_it_stands_for() -> None:
    # One image at 0 and two at (0, 3 -+ 1): the variance is 1^2 + 1^2 over 3 images less 2 classes, 2; a prototype of
    # one image is 2 too long, one of two images 1.
    features = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]])
    head = ProtoNet(make_network()).head(features, torch.tensor([0, 1, 1]))
    torch.testing.assert_close(head["head.bias"], torch.tensor([2.0 - 1.0, -9.0]))


def test_anil_without_steps_is_corrected_as_prototypes_are(generator: torch.Generator) -> None:
    features, labels = torch.randn(7, 5, generator=generator), torch.tensor([0, 1, 1, 2, 2, 2, 2])
    head = ANIL(make_network(), steps=0, start="prototypes", start_scale=0.3).head(features, labels)
    torch.testing.assert_close(dict(head), dict(ProtoNet(make_network(), scale=0.3).head(features, labels)))


@pytest.mark.parametrize("name", HEADS)
def test_classes_of_one_size_have_nothing_to_make_up_for(name: str, generator: torch.Generator) -> None:
    # Copies change the estimate of the variance, so that a correction would differ.
    learner = LEARNERS[name](make_network(), **HEADS[name])
    assert isinstance(learner, HeadLearner)
    features, labels = torch.randn(6, 5, generator=generator).double(), torch.tensor([0, 0, 1, 1, 2, 2])
    once, often = learner.head(features, labels), learner.head(features.repeat(4, 1), labels.repeat(4))
    torch.testing.assert_close(dict(often), dict(once))


@pytest.mark.parametrize("name", HEADS)
def test_a_small_class_among_many_is_found_as_often_as_a_large_one(name: str, generator: torch.Generator) -> None:
    learner = LEARNERS[name](make_network(), **HEADS[name])
    assert isinstance(learner, HeadLearner)
    recalls = torch.stack([_recalls(learner, (2, 4, 8, 16, 32), generator) for _ in range(30)]).mean(0)
    assert recalls.min() > 0.6
    assert recalls.max() - recalls.min() < 0.25


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


def _recalls(learner: HeadLearner, counts: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Share of fresh points of noisy classes of unit vectors that is found, in each class."""
    directions = torch.randn(len(counts), N_FEATURES, generator=generator) * 0.5

    def drawn(n: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        labels = torch.arange(len(n)).repeat_interleave(torch.tensor(n))
        noise = torch.randn(len(labels), N_FEATURES, generator=generator)
        return F.normalize(directions[labels] + noise, dim=1), labels

    head = learner.head(*drawn(counts))
    query, labels = drawn((100,) * len(counts))
    right = F.linear(query, head["head.weight"], head["head.bias"]).argmax(1) == labels
    return right.float().reshape(len(counts), 100).mean(1)
