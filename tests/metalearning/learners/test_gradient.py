"""MAML, FOMAML, ProtoMAML, ANIL and Reptile: their steps by hand, their meta-gradients against finite differences."""

import gc
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from service.errors import InvalidOption
from service.metalearning.episodes import Episode, SupportSet
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Head, Learner, Network, balanced_loss, balanced_targets
from service.metalearning.learners.closed_form import ProtoNet, own_share
from service.metalearning.learners.gradient import ANIL, MAML, ProtoMAML, Reptile, minibatches
from service.metalearning.learners.inner_loop import Start, stacked
from service.metalearning.normalisation import BatchStatistics, named_statistics, weighted_moments
from tests.metalearning.small_tasks import (
    backbone_of,
    copied_class,
    make_episode,
    make_network,
    make_support_set,
    mean_class_loss,
    random_direction,
    slope_by_differences,
    slope_by_gradient,
)

MEMORY = Path("/proc/self/statm")
STATISTICS = ["running", "support"]
STARTS = ["zero", "prototypes"]


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ["maml", "anil"])
def test_second_order_meta_gradients_agree_with_finite_differences(
    name: str, start: str, statistics: str, generator: torch.Generator
) -> None:
    network = make_network(statistics=statistics)
    learner = LEARNERS[name](network, steps=3, lr=0.2, start=start, start_scale=0.1)
    episodes = [make_episode(generator), make_episode(generator)]
    direction = random_direction(learner, generator)
    learner.backward(episodes)
    analytic = slope_by_gradient(learner, direction)
    numeric = slope_by_differences(learner, direction, lambda: learner.backward(episodes))
    torch.testing.assert_close(numeric, analytic, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_first_order_meta_gradients_are_those_at_the_start_plus_a_fixed_displacement(
    statistics: str, generator: torch.Generator
) -> None:
    learner = MAML(make_network(statistics=statistics), steps=3, lr=0.2, first_order=True)
    episode = make_episode(generator)
    solution = learner.adapt(episode.support)
    start = {
        name: p.detach().clone() for name, p in learner.network.named_parameters() if name in backbone_of(solution)
    }
    displacement = {name: solution[name] - p for name, p in start.items()}
    head = {name: solution[name] for name in ("head.weight", "head.bias")}

    def query_loss() -> Tensor:
        parameters = dict(learner.network.named_parameters())
        displaced = head | {name: parameters[name].detach() + d for name, d in displacement.items()}
        if statistics == "support":
            batch = BatchStatistics(balanced_targets(episode.support.labels, torch.float64).sum(1))
            functional_call(learner.network, displaced, (episode.support.images, batch))
            displaced |= named_statistics(learner.network, batch)
        return mean_class_loss(learner.predict(displaced, episode.query.images), episode.query.labels)

    direction = random_direction(learner, generator)
    loss = learner.backward([episode])
    analytic = slope_by_gradient(learner, direction)
    torch.testing.assert_close(loss, query_loss())
    numeric = slope_by_differences(learner, direction, query_loss)
    torch.testing.assert_close(numeric, analytic, rtol=1e-4, atol=1e-7)


def test_first_and_second_order_differ(generator: torch.Generator) -> None:
    second, first = MAML(make_network()), MAML(make_network(), first_order=True)
    episode, direction = make_episode(generator), random_direction(second, generator)
    second.backward([episode])
    first.backward([episode])
    ratio = slope_by_gradient(first, direction) / slope_by_gradient(second, direction)
    assert ratio.item() != pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ["maml", "fomaml", "anil", "reptile"])
def test_what_is_trained_is_what_is_served(name: str, start: str, statistics: str, generator: torch.Generator) -> None:
    learner = LEARNERS[name](make_network(statistics=statistics), start=start, start_scale=0.1)
    episodes = [make_episode(generator), make_episode(generator)]
    served = [
        mean_class_loss(learner.predict(learner.adapt(e.support), e.query.images), e.query.labels) for e in episodes
    ]
    torch.testing.assert_close(learner.backward(episodes), torch.stack(served).mean())


def test_reptile_with_sgd_is_interpolation(generator: torch.Generator) -> None:
    learner = Reptile(make_network())
    episodes = [make_episode(generator), make_episode(generator)]
    solutions = [learner.adapt(episode.support) for episode in episodes]
    start = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    learner.backward(episodes)
    torch.optim.SGD(learner.parameters(), lr=0.25).step()
    moved = {name: p.detach() for name, p in learner.network.named_parameters() if "head." not in name}
    expected = {n: 0.75 * start[n] + 0.125 * (solutions[0][n] + solutions[1][n]) for n in moved}
    torch.testing.assert_close(moved, expected)


def test_a_step_of_adam_goes_as_far_as_the_rate_whatever_the_gradient() -> None:
    # One feature, one image of each of two classes, a zero head. Of the first step, g / sqrt(g^2) is the sign of g.
    learner = Reptile(Network(nn.Flatten(), 1), steps=1, lr=0.01, optimizer="adam")
    task = learner.adapt(SupportSet(torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1), torch.tensor([0, 1])))
    torch.testing.assert_close(task["head.weight"], torch.tensor([[0.01], [-0.01]]))


def test_steps_of_adam_are_those_of_torch(generator: torch.Generator) -> None:
    learner, support = Reptile(make_network(), steps=3, lr=0.01, optimizer="adam"), make_support_set(generator)
    task = learner.adapt(support)
    network = make_network()
    network.head = Head(network.n_features, 3).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.0, 0.999))
    for _ in range(3):
        optimizer.zero_grad()
        loss = balanced_loss(network(support.images), balanced_targets(support.labels, torch.float64))
        torch.autograd.backward(loss)
        optimizer.step()
    torch.testing.assert_close(dict(task), {name: dict(network.named_parameters())[name].detach() for name in task})


def test_minibatches_take_turns_and_hold_each_class(generator: torch.Generator) -> None:
    support = make_support_set(generator, counts=(4, 4))
    images, targets = stacked([support, support])
    parts = minibatches(images, targets, size=4)
    assert [tuple(part.shape[:2]) for part, _ in parts] == [(2, 4), (2, 4)]
    torch.testing.assert_close(torch.stack([t.sum(dim=1) for _, t in parts]), torch.full((2, 2, 2), 0.5).double())
    assert {i.sum().item() for part, _ in parts for i in part[0]} == {i.sum().item() for i in support.images}


def test_a_step_of_training_sees_one_minibatch(generator: torch.Generator) -> None:
    episode = make_episode(generator, counts=(2, 2))
    first, second = minibatches(*stacked([episode.support]), size=2)
    learner = Reptile(make_network(), steps=2, batch=2)
    learner.backward([episode])
    fast = dict(Reptile(make_network(), steps=1).adapt(_labelled(*first)))
    # The second step, from where the first ended, on the other half.
    network = make_network()
    network.head = Head(network.n_features, 2).double()
    network.load_state_dict(network.state_dict() | fast)
    torch.autograd.backward(balanced_loss(network(second[0][0]), second[1][0]))
    before, after = dict(make_network().named_parameters()), dict(network.named_parameters())
    for name, p in learner.network.backbone.named_parameters(prefix="backbone"):
        gradient = after[name].grad
        assert gradient is not None
        torch.testing.assert_close(p.grad, (before[name] - (after[name] - 0.1 * gradient)).detach())


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", ["maml", "fomaml", "anil", "reptile"])
def test_before_the_first_step_every_class_is_equally_likely(
    name: str, statistics: str, generator: torch.Generator
) -> None:
    learner = LEARNERS[name](make_network(statistics=statistics), steps=0)
    support = make_support_set(generator, counts=(1, 2, 1, 3))
    assert torch.equal(learner.predict(learner.adapt(support), support.images), torch.full((7, 4), 0.25).double())


@pytest.mark.parametrize("name", ["maml", "fomaml", "anil", "reptile"])
def test_from_prototypes_the_answer_before_the_first_step_is_that_of_protonet(
    name: str, generator: torch.Generator
) -> None:
    network, support = make_network(), make_support_set(generator)
    learner = LEARNERS[name](network, steps=0, start="prototypes")
    prototypes = ProtoNet(network).adapt(support)
    torch.testing.assert_close(
        learner.predict(learner.adapt(support), support.images), learner.predict(prototypes, support.images)
    )


def test_one_step_on_a_head_is_what_paper_gives() -> None:
    # Two classes, one image each, a zero head: softmax is 1/2 and each image weighs 1/2, so row 0 moves by
    # lr * (f_0 - f_1) / 4, row 1 by the opposite, and the bias stays.
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    head = ANIL(make_network(), steps=1, lr=0.8).head(features, torch.tensor([0, 1]))
    torch.testing.assert_close(head["head.weight"], torch.tensor([[0.2, -0.4], [-0.2, 0.4]]))
    torch.testing.assert_close(head["head.bias"], torch.zeros(2))


def test_one_step_from_prototypes_is_what_paper_gives() -> None:
    # Two images that are their own features, 1 and -1: the head starts as +-2 f - 1, so the right class leads by 4 and
    # the other one has q = 1 / (1 + e^4). The gradient of row 0 is -q / 2 * 1 + q / 2 * -1 = -q, that of its bias 0.
    learner = ProtoMAML(Network(nn.Flatten(), 1), steps=1, lr=0.5)
    task = learner.adapt(SupportSet(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1), torch.tensor([0, 1])))
    q = 1 / (1 + math.exp(4))
    torch.testing.assert_close(task["head.weight"], torch.tensor([[2 + q / 2], [-2 - q / 2]]))
    torch.testing.assert_close(task["head.bias"], torch.tensor([-1.0, -1.0]))


def test_protomaml_is_maml_from_prototypes(generator: torch.Generator) -> None:
    proto = ProtoMAML(make_network(), steps=3, lr=0.1, start_scale=0.2)
    maml = MAML(make_network(), steps=3, lr=0.1, start="prototypes", start_scale=0.2)
    episode, direction = make_episode(generator), random_direction(proto, generator)
    torch.testing.assert_close(proto.backward([episode]), maml.backward([episode]))
    torch.testing.assert_close(slope_by_gradient(proto, direction), slope_by_gradient(maml, direction))
    torch.testing.assert_close(dict(proto.adapt(episode.support)), dict(maml.adapt(episode.support)))


def test_the_steps_written_out_are_those_of_autograd(generator: torch.Generator) -> None:
    features = torch.randn(7, 9, generator=generator).double()  # more than images, so that W has one sum
    labels = torch.tensor([0, 1, 1, 2, 2, 2, 2])
    head = ANIL(make_network(), steps=2, lr=0.3).head(features, labels)
    weight, bias = torch.zeros(3, 9).double().requires_grad_(), torch.zeros(3).double().requires_grad_()
    optimizer = torch.optim.SGD([weight, bias], lr=0.3)
    for _ in range(2):
        optimizer.zero_grad()
        loss = balanced_loss(features @ weight.T + bias, balanced_targets(labels, torch.float64))
        torch.autograd.backward(loss)
        optimizer.step()
    torch.testing.assert_close(head["head.weight"], weight.detach())
    coefficients = torch.linalg.lstsq(features.T, weight.detach().T).solution  # W is features^T coefficients
    share = own_share(coefficients, features, balanced_targets(labels, torch.float64))
    torch.testing.assert_close(head["head.bias"], bias.detach() + share)


def test_an_adaptation_in_chunks_is_the_one_in_a_batch(generator: torch.Generator) -> None:
    support, query = make_support_set(generator, counts=(70, 80)), make_support_set(generator, counts=(3, 3))
    learner = MAML(make_network(), steps=2)
    chunked = learner.predict(learner.adapt(support), query.images)
    whole = learner.backward([Episode(support, query)])
    torch.testing.assert_close(mean_class_loss(chunked, query.labels), whole)


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", ["maml", "anil"])
def test_more_copies_of_one_class_do_not_move_the_steps(name: str, statistics: str, generator: torch.Generator) -> None:
    # The bias of ANIL is corrected for the size of the classes, in which copies count as images.
    learner = LEARNERS[name](make_network(statistics=statistics))
    support = make_support_set(generator)
    often, once = dict(learner.adapt(copied_class(support, 1, copies=4))), dict(learner.adapt(support))
    corrected = {"head.bias"} if name == "anil" else set()
    torch.testing.assert_close(*({key: task[key] for key in task.keys() - corrected} for task in (often, once)))


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ["maml", "anil"])
def test_copies_of_every_image_change_nothing(
    name: str, start: str, statistics: str, generator: torch.Generator
) -> None:
    learner = LEARNERS[name](make_network(statistics=statistics), start=start)
    support = make_support_set(generator)
    copied = SupportSet(support.images.repeat(3, 1, 1, 1), support.labels.repeat(3))
    torch.testing.assert_close(dict(learner.adapt(copied)), dict(learner.adapt(support)))


def test_support_statistics_are_collected_with_the_final_parameters(generator: torch.Generator) -> None:
    learner, support = MAML(make_network(statistics="support"), steps=2), make_support_set(generator)
    task = learner.adapt(support)
    maps = torch.nn.functional.conv2d(support.images, task["backbone.blocks.0.conv.weight"], stride=2, padding=1)
    mean, variance = weighted_moments(maps, torch.full((6,), 1 / 6).double())
    torch.testing.assert_close(task["backbone.blocks.0.normalisation.mean"], mean)
    torch.testing.assert_close(task["backbone.blocks.0.normalisation.variance"], variance)


def test_running_statistics_stay_the_base_models(generator: torch.Generator) -> None:
    learner, episode = MAML(make_network()), make_episode(generator)
    before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    task = learner.adapt(episode.support)
    learner.backward([episode])
    assert not [name for name in task if name.endswith(("mean", "variance"))]
    assert all(torch.equal(buffer, before[name]) for name, buffer in learner.named_buffers())


@pytest.mark.parametrize("name", ["maml", "fomaml", "protomaml", "anil", "reptile"])
def test_a_diverged_adaptation_says_so(name: str) -> None:
    learner = LEARNERS[name](make_network(dtype=torch.float32), steps=20, lr=10.0)
    images = 1e25 * torch.stack([torch.ones(1, 8, 8), -torch.ones(1, 8, 8)])
    with pytest.raises(InvalidOption, match="diverged: lower lr"):
        learner.adapt(SupportSet(images, torch.tensor([0, 1])))


@pytest.mark.parametrize("start", STARTS)
def test_steps_on_a_head_do_not_diverge_on_noise(start: Start, generator: torch.Generator) -> None:
    # Each step adds at most lr times the longest features to a row, so it is large and finite.
    features = 50 * torch.randn(40, 16, generator=generator)
    head = ANIL(make_network(), steps=100, lr=10.0, start=start).head(features, torch.arange(4).repeat(10))
    assert all(tensor.isfinite().all() for tensor in head.values())


@pytest.mark.parametrize("name", ["maml", "anil"])
def test_parameters_too_large_to_answer_with_are_refused(name: str, generator: torch.Generator) -> None:
    learner = LEARNERS[name](make_network(dtype=torch.float32), steps=1, lr=10.0)
    support = make_support_set(generator, dtype=torch.float32)
    with pytest.raises(InvalidOption, match="diverged: lower lr"):
        learner.adapt(SupportSet(3e19 * support.images, support.labels))


def test_predictions_can_pass_between_steps(generator: torch.Generator) -> None:
    pauses: list[int] = []
    MAML(make_network(), steps=7).adapt(make_support_set(generator), pause=lambda: pauses.append(1))
    assert len(pauses) >= 6


@pytest.mark.skipif(not MEMORY.exists(), reason="needs Linux's /proc")
def test_a_thousand_adaptations_leave_nothing_behind(generator: torch.Generator) -> None:
    learner, support = MAML(make_network(), steps=1), make_support_set(generator, counts=(1, 1))
    _adapt_often(learner, support, times=500)
    tensors, pages = _live_tensors(), _resident_pages()
    _adapt_often(learner, support, times=1000)
    assert _live_tensors() == tensors
    assert _resident_pages() <= 1.02 * pages


def test_an_adaptation_needs_no_garbage_collection(generator: torch.Generator) -> None:
    learner, support = MAML(make_network(statistics="support")), make_support_set(generator)
    learner.adapt(support)
    tensors = _live_tensors()
    gc.disable()
    _adapt_often(learner, support, times=3)
    left = sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())
    gc.enable()
    assert left == tensors


def _labelled(images: Tensor, targets: Tensor) -> SupportSet:
    return SupportSet(images[0], targets[0].argmax(dim=1))


def _adapt_often(learner: Learner, support: SupportSet, *, times: int) -> None:
    for _ in range(times):
        learner.adapt(support)


def _live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def _resident_pages() -> int:
    return int(MEMORY.read_text().split()[1])
