"""The contract of every learner: these tests run on each entry of LEARNERS, on both kinds of backbone."""

import pytest
import torch

from service.errors import InvalidOption, InvalidSupportSet
from service.metalearning.episodes import SupportSet
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import (
    CHUNK_IMAGES,
    Learner,
    TaskParameters,
    head_logits,
    replaces_backbone,
    with_prior,
)
from tests.metalearning.small_tasks import make_episode, make_network, make_support_set

HEAD_LEARNERS = [name for name, build in LEARNERS.items() if build(make_network()).adapts == "head"]


@pytest.fixture(params=["running", "support"])
def statistics(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=LEARNERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def learner(name: str, statistics: str) -> Learner:
    return LEARNERS[name](make_network(statistics=statistics))


def test_a_prediction_ignores_the_images_beside_it(name: str, statistics: str, generator: torch.Generator) -> None:
    learner = LEARNERS[name](make_network(statistics=statistics, backbone="conv4", dtype=torch.float32))
    task = learner.adapt(make_support_set(generator, side_px=28, dtype=torch.float32))
    images = torch.randn(64, 1, 28, 28, generator=generator)
    order = torch.randperm(64, generator=generator)
    together = learner.predict(task, images)
    alone = torch.cat([learner.predict(task, image[None]) for image in images])
    shuffled = learner.predict(task, images[order])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_way", [2, 7])
def test_renaming_classes_only_renames_predictions(learner: Learner, generator: torch.Generator, n_way: int) -> None:
    support = make_support_set(generator, counts=(2,) * n_way)
    names = torch.randperm(n_way, generator=generator)
    images = torch.randn(4, 1, 8, 8, generator=generator).double()
    before = learner.predict(learner.adapt(support), images)
    after = learner.predict(learner.adapt(SupportSet(support.images, names[support.labels])), images)
    torch.testing.assert_close(after[:, names], before)


def test_the_order_of_the_support_set_does_not_matter(learner: Learner, generator: torch.Generator) -> None:
    support = make_support_set(generator, counts=(1, 4))
    order = torch.randperm(5, generator=generator)
    before = learner.predict(learner.adapt(support), support.images)
    after = learner.predict(learner.adapt(SupportSet(support.images[order], support.labels[order])), support.images)
    torch.testing.assert_close(after, before)


def test_adapting_leaves_the_base_model_bit_equal(learner: Learner, generator: torch.Generator) -> None:
    before = {key: tensor.clone() for key, tensor in learner.state_dict().items()}
    support = make_support_set(generator)
    learner.predict(learner.adapt(support), support.images)
    assert all(torch.equal(tensor, before[key]) for key, tensor in learner.state_dict().items())


def test_train_and_eval_make_no_difference(learner: Learner, generator: torch.Generator) -> None:
    support = make_support_set(generator)
    trained = learner.train().predict(learner.adapt(support), support.images)
    evaluated = learner.eval().predict(learner.adapt(support), support.images)
    assert torch.equal(trained, evaluated)


def test_adapting_learns_the_support_set(learner: Learner, generator: torch.Generator) -> None:
    support = make_support_set(generator, counts=(3, 3))
    probabilities = learner.predict(learner.adapt(support), support.images)
    right = probabilities[torch.arange(6), support.labels]
    assert right.mean() > 0.5
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6).double())


def test_task_parameters_stand_alone(learner: Learner, generator: torch.Generator) -> None:
    task = learner.adapt(make_support_set(generator))
    state = learner.network.state_dict()
    assert set(task) <= set(state)
    assert all(not tensor.requires_grad and tensor.is_contiguous() for tensor in task.values())
    assert not {t.data_ptr() for t in task.values()} & {t.data_ptr() for t in state.values()}
    assert replaces_backbone(task) == (learner.adapts == "network")


def test_one_class_is_answered_with_certainty(learner: Learner, generator: torch.Generator) -> None:
    support = make_support_set(generator, counts=(2,))
    torch.testing.assert_close(learner.predict(learner.adapt(support), support.images), torch.ones(2, 1).double())


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 0, 2], "class 1 of 3 has 0 images, need at least 1"), ([0, 1, -1], "labels from 0"), ([], "needs images")],
)
def test_a_class_without_images_is_refused(learner: Learner, labels: list[int], message: str) -> None:
    support = SupportSet(torch.zeros(len(labels), 1, 8, 8).double(), torch.tensor(labels, dtype=torch.int64))
    with pytest.raises(InvalidSupportSet, match=message):
        learner.adapt(support)


def test_predictions_can_pass_between_chunks(learner: Learner, generator: torch.Generator) -> None:
    pauses: list[int] = []
    support = make_support_set(generator, counts=(CHUNK_IMAGES, CHUNK_IMAGES + 1))
    learner.adapt(support, pause=lambda: pauses.append(1))
    assert len(pauses) >= (0 if learner.adapts == "network" else 2)


def test_backward_leaves_the_mean_over_episodes(learner: Learner, generator: torch.Generator) -> None:
    episodes = [make_episode(generator), make_episode(generator, counts=(1, 3)), make_episode(generator)]
    losses, gradients = [], []
    for episode in episodes:
        learner.zero_grad()
        losses.append(learner.backward([episode]))
        gradients.append({key: p.grad for key, p in learner.named_parameters() if p.grad is not None})
    learner.zero_grad()
    loss = learner.backward(episodes)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    for key, parameter in learner.named_parameters():
        if key in gradients[0]:
            torch.testing.assert_close(parameter.grad, torch.stack([g[key] for g in gradients]).mean(0))


def test_backward_adds_to_the_gradient(learner: Learner, generator: torch.Generator) -> None:
    episode = make_episode(generator)
    learner.backward([episode])
    once = {key: p.grad.clone() for key, p in learner.named_parameters() if p.grad is not None}
    learner.backward([episode])
    twice = {key: p.grad for key, p in learner.named_parameters() if p.grad is not None}
    assert any(gradient.abs().sum() > 0 for gradient in once.values())
    torch.testing.assert_close(twice, {key: 2 * gradient for key, gradient in once.items()})


def test_backward_trains_every_tensor_of_the_backbone(learner: Learner, generator: torch.Generator) -> None:
    learner.backward([make_episode(generator)])
    assert all(p.grad is not None for p in learner.network.backbone.parameters())


def test_meta_training_lowers_the_query_loss(learner: Learner, generator: torch.Generator) -> None:
    episode = make_episode(generator)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.02)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        losses.append(learner.backward([episode]).item())
        optimizer.step()
    assert losses[-1] < losses[0]


def test_settings_rebuild_the_learner(learner: Learner, name: str, generator: torch.Generator) -> None:
    settings = learner.settings()
    rebuilt = LEARNERS[name](learner.network, **settings)
    support = make_support_set(generator)
    assert rebuilt.settings() == pytest.approx(settings)
    torch.testing.assert_close(dict(rebuilt.adapt(support)), dict(learner.adapt(support)))


def test_an_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match="option 'stpes' is unknown, expected one of"):
        LEARNERS[name](make_network(), stpes=5)


@pytest.mark.parametrize("name", HEAD_LEARNERS)
def test_features_are_answered_as_their_images_are(name: str, generator: torch.Generator) -> None:
    learner, support = LEARNERS[name](make_network()), make_support_set(generator, counts=(1, 2, 4))
    task = learner.adapt(support)
    logits = head_logits(task, learner.network.backbone(support.images))
    torch.testing.assert_close(logits.softmax(1).detach(), learner.predict(task, support.images))


STEP_LEARNERS = [name for name, build in LEARNERS.items() if "steps" in build(make_network()).options]


@pytest.mark.parametrize("name", STEP_LEARNERS)
@pytest.mark.parametrize("steps", [-1, 101, 2.5, True, "5", float("nan")])
def test_steps_out_of_range_are_refused(name: str, steps: object) -> None:
    with pytest.raises(InvalidOption, match=r"steps is .*, expected a whole number from 0 to 100"):
        LEARNERS[name](make_network(), steps=steps)


@pytest.mark.parametrize("name", STEP_LEARNERS)
@pytest.mark.parametrize("lr", [0, -0.1, 10.1, "fast", float("nan"), float("inf")])
def test_step_sizes_out_of_range_are_refused(name: str, lr: object) -> None:
    with pytest.raises(InvalidOption, match=r"lr is .*, expected a number"):
        LEARNERS[name](make_network(), lr=lr)


def test_whole_numbers_may_come_as_either_type() -> None:
    learner = LEARNERS["maml"](make_network(), steps=3.0, lr=1)
    assert learner.settings() == {"steps": 3, "lr": 1.0, "start": "zero", "start_scale": 1.0}


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(InvalidOption, match="start is 'random', expected 'zero' or 'prototypes'"):
        LEARNERS["maml"](make_network(), start="random")


TWO_CLASSES: TaskParameters = {"head.weight": torch.zeros(2, 3), "head.bias": torch.tensor([0.5, 0.5])}


def test_a_prior_becomes_the_answer_where_the_image_says_nothing() -> None:
    task = with_prior(TWO_CLASSES, [0.9, 0.1])
    torch.testing.assert_close(task["head.bias"].softmax(0), torch.tensor([0.9, 0.1]))


def test_a_balanced_prior_changes_nothing() -> None:
    torch.testing.assert_close(dict(with_prior(TWO_CLASSES, [0.5, 0.5])), dict(TWO_CLASSES))
    assert with_prior(TWO_CLASSES, None) is TWO_CLASSES


@pytest.mark.parametrize("prior", [[1.0], [1.0, 0.0], [0.6, 0.6], [], [float("nan"), 1.0]])
def test_a_prior_that_is_none_is_refused(prior: list[float]) -> None:
    with pytest.raises(InvalidOption, match="expected 2 positive numbers that add up to 1"):
        with_prior(TWO_CLASSES, prior)
