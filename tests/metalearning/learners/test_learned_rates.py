"""Meta-SGD and MAML++: steps on paper, meta-gradients of the rates, and the annealing of MAML++."""

import pytest
import torch
from torch import Tensor, nn

from service.errors import CheckpointError
from service.metalearning.episodes import SupportSet
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Learner, Network
from service.metalearning.learners.gradient import MAML
from service.metalearning.learners.learned_rates import MAMLPlusPlus, MetaSGD
from tests.metalearning.small_tasks import (
    make_episode,
    make_network,
    make_support_set,
    random_direction,
    slope_by_differences,
    slope_by_gradient,
)

NAMES = ["meta-sgd", "maml++"]
# Two images that are their own feature. From a zero head the softmax is 1/2 and each image weighs 1/2, so the gradient
# of row 0 is -(2 - 0) / 4, that of its bias 0; row 1 has the opposite.
TWO_IMAGES = SupportSet(torch.tensor([2.0, 0.0]).reshape(2, 1, 1, 1), torch.tensor([0, 1]))


def drawn_factors(learner: Learner, generator: torch.Generator) -> dict[str, Tensor]:
    """Learned rates that are not those at the start, some of them negative."""
    return {
        name: 1 + torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        for name, tensor in learner.learned().items()
    }


def slope_along(learner: Learner, direction: dict[str, Tensor]) -> Tensor:
    """The derivative along a direction in the network alone."""
    gradients = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None and name in direction}
    return torch.stack([(gradient * direction[name]).sum() for name, gradient in gradients.items()]).sum()


def test_a_step_of_meta_sgd_is_the_gradient_times_its_own_rate() -> None:
    learner = MetaSGD(Network(nn.Flatten(), 1), steps=1, lr=0.1)
    learner.take_learned({"factors.head.weight": torch.tensor([3.0]), "factors.head.bias": torch.tensor(-5.0)})
    task = learner.adapt(TWO_IMAGES)
    torch.testing.assert_close(task["head.weight"], torch.tensor([[0.15], [-0.15]]))
    torch.testing.assert_close(task["head.bias"], torch.zeros(2))


def test_each_step_of_mamlplusplus_has_its_own_rate() -> None:
    learner = MAMLPlusPlus(Network(nn.Flatten(), 1), steps=2, lr=0.1)
    learner.take_learned(
        {"factors.head.weight": torch.tensor([3.0, 0.0]), "factors.head.bias": torch.tensor([1.0, 2.0])}
    )
    task = learner.adapt(TWO_IMAGES)
    # The second step leaves the weights; at 0.15 and -0.15 image 0 has the logits 0.3 and -0.3, image 1 has 0 and 0.
    wrong = torch.tensor(-0.6).sigmoid()
    bias = 0.1 * 2 * (wrong / 2 - 1 / 4)
    torch.testing.assert_close(task["head.weight"], torch.tensor([[0.15], [-0.15]]))
    torch.testing.assert_close(task["head.bias"], torch.stack([bias, -bias]))


@pytest.mark.parametrize("name", NAMES)
def test_before_training_the_rates_are_those_of_maml(name: str, generator: torch.Generator) -> None:
    support = make_support_set(generator)
    learned = LEARNERS[name](make_network(), steps=3, lr=0.2).adapt(support)
    torch.testing.assert_close(dict(learned), dict(MAML(make_network(), steps=3, lr=0.2).adapt(support)))


@pytest.mark.parametrize("name", NAMES)
def test_lr_multiplies_what_was_learned(name: str, generator: torch.Generator) -> None:
    one, double = LEARNERS[name](make_network(), lr=0.1), LEARNERS[name](make_network(), lr=0.2)
    factors = drawn_factors(one, generator)
    one.take_learned({key: 2 * tensor for key, tensor in factors.items()})
    double.take_learned(factors)
    support = make_support_set(generator)
    torch.testing.assert_close(dict(one.adapt(support)), dict(double.adapt(support)))


@pytest.mark.parametrize("statistics", ["running", "support"])
@pytest.mark.parametrize("start", ["zero", "prototypes"])
@pytest.mark.parametrize("name", NAMES)
def test_meta_gradients_of_network_and_rates_agree_with_finite_differences(
    name: str, start: str, statistics: str, generator: torch.Generator
) -> None:
    network = make_network(statistics=statistics)
    learner = LEARNERS[name](network, steps=3, lr=0.1, start=start, start_scale=0.1).double()
    learner.take_learned(drawn_factors(learner, generator))
    episodes, direction = [make_episode(generator), make_episode(generator)], random_direction(learner, generator)
    assert any(key.startswith("factors.") for key in direction)
    learner.backward(episodes)
    analytic = slope_by_gradient(learner, direction)
    numeric = slope_by_differences(learner, direction, lambda: learner.backward(episodes))
    torch.testing.assert_close(numeric, analytic, rtol=1e-4, atol=1e-6)


def test_steps_beyond_those_trained_repeat_the_last_rates(generator: torch.Generator) -> None:
    short, long = MAMLPlusPlus(make_network(), steps=2), MAMLPlusPlus(make_network(), steps=4)
    factors = drawn_factors(short, generator)
    more = MAMLPlusPlus(make_network(), steps=4)
    more.take_learned(factors)
    long.take_learned({name: f[[0, 1, 1, 1]] for name, f in factors.items()})
    support = make_support_set(generator)
    torch.testing.assert_close(dict(more.adapt(support)), dict(long.adapt(support)))


def test_fewer_steps_than_trained_take_the_first_rates(generator: torch.Generator) -> None:
    learner, fewer = MAMLPlusPlus(make_network(), steps=3), MAMLPlusPlus(make_network(), steps=1)
    factors = drawn_factors(learner, generator)
    fewer.take_learned(factors)
    first = MAMLPlusPlus(make_network(), steps=1)
    first.take_learned({name: f[:1] for name, f in factors.items()})
    support = make_support_set(generator)
    torch.testing.assert_close(dict(fewer.adapt(support)), dict(first.adapt(support)))


def test_at_first_the_multi_step_loss_counts_every_step_alike(generator: torch.Generator) -> None:
    learner = MAMLPlusPlus(make_network(), steps=3, multi_step_until=10)
    single = [MAML(make_network(), steps=steps) for steps in (1, 2, 3)]
    episode, direction = make_episode(generator), random_direction(single[0], generator)
    losses = [maml.backward([episode]) for maml in single]
    loss = learner.backward([episode])
    slopes = torch.stack([slope_by_gradient(maml, direction) for maml in single])
    torch.testing.assert_close(slope_along(learner, direction), slopes.mean())
    torch.testing.assert_close(loss, losses[-1])


def test_halfway_the_multi_step_loss_counts_the_last_step_more(generator: torch.Generator) -> None:
    learner = MAMLPlusPlus(make_network(), steps=2, multi_step_until=2)
    single = [MAML(make_network(), steps=steps) for steps in (1, 2)]
    episode, direction = make_episode(generator), random_direction(single[0], generator)
    for maml in single:
        maml.backward([episode])
    learner.backward([episode])
    learner.zero_grad()
    learner.backward([episode])
    slopes = torch.stack([slope_by_gradient(maml, direction) for maml in single])
    torch.testing.assert_close(slope_along(learner, direction), 0.25 * slopes[0] + 0.75 * slopes[1])


def test_annealed_it_is_second_order_on_the_last_step(generator: torch.Generator) -> None:
    learner = MAMLPlusPlus(make_network(), steps=3, multi_step_until=1, first_order_until=1)
    maml, episode = MAML(make_network(), steps=3), make_episode(generator)
    direction = random_direction(maml, generator)
    learner.backward([episode])
    learner.zero_grad()
    learner.backward([episode])
    maml.backward([episode])
    torch.testing.assert_close(slope_along(learner, direction), slope_by_gradient(maml, direction))


def test_at_first_the_gradients_of_the_steps_are_constants(generator: torch.Generator) -> None:
    learner = MAMLPlusPlus(make_network(), steps=3, first_order_until=1)
    fomaml, episode = MAML(make_network(), steps=3, first_order=True), make_episode(generator)
    direction = random_direction(fomaml, generator)
    learner.backward([episode])
    fomaml.backward([episode])
    torch.testing.assert_close(slope_along(learner, direction), slope_by_gradient(fomaml, direction))


def test_rates_of_another_learner_are_refused() -> None:
    one, other = MetaSGD(make_network()), MAMLPlusPlus(make_network())
    with pytest.raises(CheckpointError, match="has shape"):
        one.take_learned(other.learned())
    with pytest.raises(CheckpointError, match="has shape"):
        other.take_learned(one.learned())
    with pytest.raises(CheckpointError, match=r"learned rates are of factors\.x, expected"):
        one.take_learned({"factors.x": torch.ones(1)})


@pytest.mark.parametrize("name", ["maml", "protonet", "linear"])
def test_a_learner_without_rates_of_its_own_takes_none(name: str) -> None:
    learner = LEARNERS[name](make_network())
    learner.take_learned({})
    assert learner.learned() == {}
    with pytest.raises(CheckpointError, match="learns nothing of its own"):
        learner.take_learned({"factors.head.bias": torch.ones(())})
