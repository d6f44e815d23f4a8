"""ProtoNet and ridge: two-class cases on paper, the exact solve, unbalanced classes, statistics."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.metalearning.episodes import SupportSet
from service.metalearning.header import Setting
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.closed_form import ProtoNet, Ridge, ridge_weight
from service.metalearning.learners.head_learner import HeadLearner
from service.metalearning.normalisation import MOMENTUM, BatchStatistics, named_statistics
from tests.metalearning.small_tasks import (
    copied_class,
    make_episode,
    make_network,
    make_support_set,
    random_direction,
    slope_by_differences,
    slope_by_gradient,
)


def test_prototypes_are_class_means_as_a_head() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 2.0], [0.0, 4.0]])
    head = ProtoNet(make_network()).head(features, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(head["head.weight"], torch.tensor([[2.0, 2.0], [0.0, 6.0]]))
    torch.testing.assert_close(head["head.bias"], torch.tensor([-2.0, -9.0]))


def test_the_head_answers_by_squared_distance(generator: torch.Generator) -> None:
    learner, support = ProtoNet(make_network(), scale=0.5), make_support_set(generator)
    features = learner.network.backbone(support.images)
    prototypes = torch.stack([features[support.labels == index].mean(0) for index in range(3)])
    by_distance = (-0.5 * torch.cdist(features, prototypes).square()).softmax(1)
    torch.testing.assert_close(learner.predict(learner.adapt(support), support.images), by_distance.detach())


@pytest.mark.parametrize("statistics", ["running", "support"])
def test_more_copies_of_one_class_do_not_move_the_prototypes(statistics: str, generator: torch.Generator) -> None:
    learner, support = ProtoNet(make_network(statistics=statistics)), make_support_set(generator)
    # Only the bias moves: a mean of more images is taken for a better one, and copies count as images.
    often, once = learner.adapt(copied_class(support, 2, copies=5)), learner.adapt(support)
    assert (often["head.bias"] >= once["head.bias"] - 1e-12).tolist() == [True, True, True]
    torch.testing.assert_close(often["head.bias"][2], once["head.bias"][2])
    torch.testing.assert_close({**often, "head.bias": once["head.bias"]}, dict(once))


def test_ridge_on_orthonormal_features_is_shrunk_identity() -> None:
    head = Ridge(make_network(), penalty=3.0, scale=8.0).head(torch.eye(2), torch.tensor([0, 1]))
    torch.testing.assert_close(head["head.weight"], torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    torch.testing.assert_close(head["head.bias"], torch.zeros(2))


def test_ridge_weighs_classes_alike() -> None:
    # Counts 1 and 3 have the harmonic mean 3/2: each class acts as 3/2 images, and 1.5 / (1.5 + 1) = 0.6.
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    head = Ridge(make_network(), penalty=1.0, scale=1.0).head(features, torch.tensor([0, 1, 1, 1]))
    torch.testing.assert_close(head["head.weight"], torch.tensor([[0.6, 0.0], [0.0, 0.6]]))


def test_with_mean_errors_ridge_does_not_see_how_large_a_class_is(generator: torch.Generator) -> None:
    learner, support = Ridge(make_network(), loss="mean"), make_support_set(generator)
    unbalanced = copied_class(support, 0, copies=6)
    torch.testing.assert_close(dict(learner.adapt(unbalanced)), dict(learner.adapt(support)))


def test_an_intercept_is_a_constant_feature() -> None:
    # Features are zero, so only the constant sqrt(4) speaks: v minimises (2v - 1)^2 + (2v)^2 + 2 v^2 = 10 v^2 - 4v + 1
    # for either class, v = 0.2, and the bias is 2v.
    head = Ridge(make_network(), penalty=2.0, scale=1.0, intercept=4.0).head(torch.zeros(2, 3), torch.tensor([0, 1]))
    torch.testing.assert_close(head["head.bias"], torch.tensor([0.4, 0.4]))
    torch.testing.assert_close(head["head.weight"], torch.zeros(2, 3))


@pytest.mark.parametrize("loss", ["sum", "mean"])
@pytest.mark.parametrize("counts", [(2, 2, 2), (1, 2, 5)])
def test_renaming_classes_renames_the_rows_of_a_head_with_intercept(
    loss: str, counts: tuple[int, ...], generator: torch.Generator
) -> None:
    learner = Ridge(make_network(), intercept=2.0, loss=loss)
    support, names = make_support_set(generator, counts=counts), torch.tensor([2, 0, 1])
    renamed = learner.adapt(SupportSet(support.images, names[support.labels]))
    before = learner.adapt(support)
    torch.testing.assert_close({key: rows[names] for key, rows in renamed.items()}, dict(before))


def test_with_intercept_ridge_survives_classes_of_one_image_and_of_copies(generator: torch.Generator) -> None:
    learner = Ridge(make_network(), intercept=2.0, loss="mean")
    support = copied_class(make_support_set(generator, counts=(1, 1, 1)), 2, copies=9)
    answers = learner.predict(learner.adapt(support), support.images).argmax(1)
    torch.testing.assert_close(answers, support.labels)


@pytest.mark.parametrize(("n_support", "n_features"), [(3, 8), (8, 3), (5, 5)])
def test_the_smaller_system_gives_the_same_ridge(n_support: int, n_features: int, generator: torch.Generator) -> None:
    inputs = torch.randn(n_support, n_features, generator=generator).double()
    targets = torch.randn(n_support, 2, generator=generator).double()
    gram = inputs.T @ inputs + 0.7 * torch.eye(n_features).double()
    weight = ridge_weight(inputs, targets, torch.tensor(0.7).double())
    torch.testing.assert_close(weight, torch.linalg.solve(gram, inputs.T @ targets).T)


def test_ridge_survives_duplicate_images(generator: torch.Generator) -> None:
    learner = Ridge(make_network(dtype=torch.float32), penalty=1e-6)
    image = torch.randn(1, 1, 8, 8, generator=generator)
    support = SupportSet(image.repeat(10, 1, 1, 1), torch.tensor([0, 1]).repeat(5))
    torch.testing.assert_close(learner.predict(learner.adapt(support), image), torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("protonet", {}), ("ridge", {}), ("ridge", {"intercept": 2.0, "loss": "mean"}), ("anil", {})],
)
def test_a_class_of_8_is_found_beside_one_of_500(
    name: str, settings: dict[str, Setting], generator: torch.Generator
) -> None:
    learner = _head_learner(name, **settings)
    support, labels = _overlapping_classes(generator, counts=(8, 500))
    head = learner.head(support, labels)
    query, query_labels = _overlapping_classes(generator, counts=(300, 300))
    right = F.linear(query, head["head.weight"], head["head.bias"]).argmax(1) == query_labels
    recalls = torch.stack([right[:300].double().mean(), right[300:].double().mean()])
    assert recalls.min() > 0.75


@pytest.mark.parametrize("statistics", ["running", "support"])
@pytest.mark.parametrize("name", ["protonet", "ridge"])
def test_meta_gradients_agree_with_finite_differences(name: str, statistics: str, generator: torch.Generator) -> None:
    learner = LEARNERS[name](make_network(statistics=statistics), scale=0.3).double()
    episodes = [make_episode(generator), make_episode(generator)]
    direction = random_direction(learner, generator)
    learner.backward(episodes)
    analytic = slope_by_gradient(learner, direction)
    numeric = slope_by_differences(learner, direction, lambda: learner.backward(episodes))
    torch.testing.assert_close(numeric, analytic, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["protonet", "ridge"])
def test_penalty_and_scale_are_learned(name: str, generator: torch.Generator) -> None:
    learner = LEARNERS[name](make_network())
    before = learner.settings()
    learner.backward([make_episode(generator)])
    torch.optim.SGD(learner.parameters(), lr=0.1).step()
    after = learner.settings()
    moved = before.keys() & {"penalty", "scale"}
    assert all(after[key] != before[key] for key in moved)
    assert all(float(after[key]) > 0 for key in moved)


@pytest.mark.parametrize("name", ["protonet", "ridge"])
def test_training_moves_the_buffers_by_momentum(name: str, generator: torch.Generator) -> None:
    learner, episode = LEARNERS[name](make_network()), make_episode(generator)
    backbone = learner.network.backbone
    before = backbone.get_buffer("blocks.1.normalisation.mean").clone()
    batch = BatchStatistics()
    backbone(torch.cat([episode.support.images, episode.query.images]), batch)
    mean = named_statistics(backbone, batch)["blocks.1.normalisation.mean"]
    learner.backward([episode])
    moved = backbone.get_buffer("blocks.1.normalisation.mean")
    torch.testing.assert_close(moved, (1 - MOMENTUM) * before + MOMENTUM * mean)


def test_head_learners_on_support_statistics_keep_them(generator: torch.Generator) -> None:
    learner = ProtoNet(make_network(statistics="support"))
    task = learner.adapt(make_support_set(generator))
    statistics = {f"backbone.{name}" for name, _ in learner.network.backbone.named_buffers()}
    assert learner.adapts == "network"
    assert set(task) == statistics | {"head.weight", "head.bias"}


def test_head_learners_on_running_statistics_keep_a_head(generator: torch.Generator) -> None:
    learner = ProtoNet(make_network())
    task = learner.adapt(make_support_set(generator, counts=(1,) * 7))
    assert learner.adapts == "head"
    assert {name: tuple(tensor.shape) for name, tensor in task.items()} == {
        "head.weight": (7, learner.network.n_features),
        "head.bias": (7,),
    }


@pytest.mark.parametrize("name", ["protonet", "ridge", "anil"])
def test_features_in_chunks_are_the_features(name: str, generator: torch.Generator) -> None:
    learner = _head_learner(name)
    support = make_support_set(generator, counts=(60, 70))
    whole = learner.head(learner.network.backbone(support.images), support.labels)
    torch.testing.assert_close(dict(learner.adapt(support)), {key: tensor.detach() for key, tensor in whole.items()})


def _head_learner(name: str, **settings: Setting) -> HeadLearner:
    learner = LEARNERS[name](make_network(), **settings)
    assert isinstance(learner, HeadLearner)
    return learner


def _overlapping_classes(generator: torch.Generator, *, counts: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Features of two classes whose means are three standard deviations apart in one of two dimensions."""
    labels = torch.arange(2).repeat_interleave(torch.tensor(counts))
    features = torch.randn(len(labels), 2, generator=generator)
    features[:, 0] += 3.0 * labels - 1.5
    return features.double(), labels
