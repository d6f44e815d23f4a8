import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from service.errors import DatasetError, InvalidOption
from service.metalearning.datasets import Dataset
from service.metalearning.episodes import Episode, SupportSet
from service.metalearning.evaluation import Answering, before_adaptation, measure, write_figures
from service.metalearning.header import Figure, PixelScaling, read_header
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Learner, Network, Pause, TaskParameters, no_pause
from service.metalearning.sampling import EpisodeShape
from service.metalearning.serialization import load_base_model
from service.metalearning.training import meta_train
from tests.metalearning.small_tasks import make_network, make_support_set
from tests.metalearning.tiny_training import make_data, make_dataset, make_recipe, tensors_of

SCALING = PixelScaling((0.0,), (1.0,))
SHAPE = EpisodeShape(3, 2, 3)


class Grey(nn.Module):
    """One feature: the grey of the first pixel."""

    n_features = 1

    def forward(self, images: Tensor) -> Tensor:
        """The feature of each image."""
        return images[:, 0, 0, :1]


class AlwaysTheFirst(Learner):
    """Answers class 0 whatever it sees."""

    adapts = "network"

    def __init__(self) -> None:
        super().__init__(Network(Grey(), 1), {})

    def adapt(self, support: SupportSet, *, pause: Pause = no_pause) -> TaskParameters:  # noqa: ARG002  # the contract's signature
        """A head that prefers class 0."""
        return {"head.weight": torch.zeros(support.n_way, 1), "head.bias": torch.eye(support.n_way)[0]}

    def backward(self, episodes: Sequence[Episode]) -> Tensor:  # noqa: ARG002  # the contract's signature
        """Nothing to learn."""
        return torch.zeros(())


def grey_classes(*greys: int) -> Dataset:
    """Ten images of 2 px of each grey, a class a grey."""
    images = torch.tensor(greys, dtype=torch.uint8).repeat_interleave(10).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    rows = torch.arange(len(images)).view(len(greys), 10)
    return Dataset("greys", images.contiguous(), tuple(map(str, greys)), tuple(rows))


def answering(name: str) -> Answering:
    return Answering(LEARNERS[name](make_network(dtype=torch.float32)), SCALING)


def test_classes_that_one_feature_tells_apart_are_all_answered_right() -> None:
    prototypes = Answering(LEARNERS["protonet"](Network(Grey(), 1), scale=1000.0), SCALING)

    measured = measure(prototypes, grey_classes(0, 120, 250), SHAPE, episodes=4)

    assert (measured.accuracy, measured.interval_95, measured.episodes) == (100.0, 0.0, 4)
    assert measured.nll == pytest.approx(0.0, abs=1e-6)


def test_a_constant_answer_is_right_once_in_n_way() -> None:
    measured = measure(Answering(AlwaysTheFirst(), SCALING), grey_classes(0, 100, 200), SHAPE, episodes=5)

    assert measured.accuracy == pytest.approx(100 / 3)
    assert measured.interval_95 == pytest.approx(0.0)
    assert measured.nll == pytest.approx(math.log(math.e + 2) - 1 / 3)


def test_the_interval_is_196_standard_errors() -> None:
    """Two of four classes look alike: an episode that holds both is answered half right, one without them whole."""
    alike = grey_classes(0, 100, 200, 200)
    prototypes = Answering(LEARNERS["protonet"](Network(Grey(), 1), scale=1000.0), SCALING)

    measured = measure(prototypes, alike, EpisodeShape(2, 1, 4), episodes=60)

    p = 2 * (1 - measured.accuracy / 100)  # part of the episodes with both
    assert measured.interval_95 == pytest.approx(100 * 1.96 * 0.5 * math.sqrt(p * (1 - p) / 59))


@pytest.mark.parametrize("name", ["protonet", "ridge", "anil"])
def test_features_computed_once_give_the_figures_of_whole_adaptations(name: str) -> None:
    dataset = make_dataset(noise=200)
    once = answering(name)
    whole = answering(name)
    whole.learner.adapts = "network"

    by_features, by_adaptation = (measure(each, dataset, SHAPE, episodes=10) for each in (once, whole))

    assert by_features.accuracy == pytest.approx(by_adaptation.accuracy)
    assert by_features.nll == pytest.approx(by_adaptation.nll, rel=1e-4)


def test_every_learner_is_measured_on_the_same_episodes() -> None:
    dataset = make_dataset(noise=200)

    one, same = (measure(answering("maml"), dataset, SHAPE, episodes=5, seed=3) for _ in range(2))
    other = measure(answering("maml"), dataset, SHAPE, episodes=5, seed=4)

    assert (one.accuracy, one.nll) == (same.accuracy, same.nll)
    assert one.nll != other.nll


def test_support_and_query_images_kept_apart_are_used_as_such() -> None:
    dataset = grey_classes(0, 120, 250)
    wrong = tuple(reversed(dataset.rows))
    prototypes = Answering(LEARNERS["protonet"](Network(Grey(), 1)), SCALING)

    measured = measure(prototypes, replace(dataset, query_rows=wrong), SHAPE, episodes=4)

    assert measured.accuracy == pytest.approx(100 / 3)  # only the middle class is its own


def test_measuring_leaves_the_state_of_the_learner_as_it_is() -> None:
    each = answering("maml")
    before = {name: tensor.clone() for name, tensor in each.learner.state_dict().items()}

    measure(each, make_dataset(), SHAPE, episodes=3)

    assert all(torch.equal(before[name], tensor) for name, tensor in each.learner.state_dict().items())


def test_queries_that_are_the_support_set_are_answered_alike_with_and_without_transduction(
    generator: torch.Generator,
) -> None:
    learner = LEARNERS["maml"](make_network(statistics="support"))
    support = make_support_set(generator)
    task = learner.adapt(support)
    by_themselves, together = (Answering(learner, SCALING, transductive=kind) for kind in (False, True))

    torch.testing.assert_close(
        together.logits(task, support.images).softmax(1), by_themselves.logits(task, support.images).softmax(1)
    )


def test_a_transductive_answer_depends_on_the_other_queries(generator: torch.Generator) -> None:
    learner = LEARNERS["maml"](make_network())
    support = make_support_set(generator)
    task = learner.adapt(support)
    together = Answering(learner, SCALING, transductive=True).logits(task, support.images)
    fewer = Answering(learner, SCALING, transductive=True).logits(task, support.images[:2])

    assert (together[:2] - fewer).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["maml", "protonet", "cosine"])
def test_a_transductive_figure_says_so(name: str) -> None:
    learner = LEARNERS[name](make_network(dtype=torch.float32))
    with_others = measure(Answering(learner, SCALING, transductive=True), make_dataset(), SHAPE, episodes=3)
    alone = measure(Answering(learner, SCALING), make_dataset(), SHAPE, episodes=3)

    assert (with_others.inductive, alone.inductive) == (False, True)
    assert with_others.nll != alone.nll


def test_what_does_not_depend_on_other_images_cannot_be_transductive() -> None:
    with pytest.raises(InvalidOption, match="nothing could be transductive"):
        Answering(AlwaysTheFirst(), SCALING, transductive=True)


def test_a_transductive_figure_does_not_get_into_a_header(tmp_path: Path) -> None:
    path = meta_train(make_recipe(), make_data(), tmp_path).path

    with pytest.raises(InvalidOption, match="is not one of the base model's"):
        write_figures(path, [Figure("patterns", "anil", 5, 1, 99.0, 0.5, 100, inductive=False)])

    assert read_header(path).figures == ()


def test_each_episode_is_told() -> None:
    told: list[None] = []

    measure(answering("ridge"), make_dataset(), SHAPE, episodes=7, on_episode=lambda: told.append(None))

    assert len(told) == 7


def test_a_data_set_that_is_too_small_is_refused() -> None:
    with pytest.raises(DatasetError, match="has 6 classes, need at least 20"):
        measure(answering("ridge"), make_dataset(), EpisodeShape(20, 1, 1), episodes=2)


def test_a_learner_is_at_chance_before_its_first_step(tmp_path: Path) -> None:
    base = load_base_model(meta_train(make_recipe(), make_data(), tmp_path).path)
    start = before_adaptation(base, "anil")
    assert start is not None

    measured = measure(Answering(start, base.header.scaling), make_dataset(), SHAPE, episodes=5)

    assert measured.accuracy == pytest.approx(100 / 3)


def test_a_learner_without_steps_has_no_before(tmp_path: Path) -> None:
    base = load_base_model(meta_train(make_recipe(), make_data(), tmp_path).path)

    assert before_adaptation(base, "protonet") is None


def test_figures_are_put_into_the_header_and_replace_those_of_the_same_column(tmp_path: Path) -> None:
    path = meta_train(make_recipe(), make_data(), tmp_path).path
    weights = tensors_of(tmp_path)
    old, other = Figure("patterns", "anil", 5, 1, 90.0, 0.5, 100), Figure("patterns", "anil", 5, 5, 95.0, 0.5, 100)
    write_figures(path, [old, other])

    write_figures(path, [replace(old, accuracy=92.0)])

    assert read_header(path).figures == (replace(old, accuracy=92.0), other)
    assert all(torch.equal(weights[name], tensor) for name, tensor in tensors_of(tmp_path).items())
