"""FiLM: a step on paper, what a task holds, and its meta-gradient."""

import pytest
import torch
from torch import Tensor, nn

from service.errors import InvalidOption
from service.metalearning.episodes import SupportSet
from service.metalearning.learners import LEARNERS
from service.metalearning.learners.base import Network
from service.metalearning.learners.film import FiLM
from service.metalearning.normalisation import EPSILON, BatchStatistics, Normalisation
from service.metalearning.serialization import task_to_bytes
from tests.metalearning.small_tasks import (
    make_episode,
    make_network,
    make_support_set,
    random_direction,
    slope_by_differences,
    slope_by_gradient,
)


class OneChannel(nn.Module):
    """The grey of an image of one pixel, doubled and normalised by the statistics 0 and 1."""

    n_features = 1
    statistics = "running"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.conv.weight, 2.0)
        self.normalisation = Normalisation(1)

    def forward(self, images: Tensor, batch: BatchStatistics | None = None) -> Tensor:
        """The feature of each image."""
        maps: Tensor = self.normalisation(self.conv(images), batch)
        return maps.flatten(1)


def test_a_step_on_scale_and_shift_is_what_paper_gives() -> None:
    # Pixels 1 and -1 are the features 2 and -2. From prototypes times 1/8 the head is +-(1/8) 2 f - 1/2: the right
    # class leads by 2, so the other one has q = 1 / (1 + e^2). The loss log(1 + e^-(lead)) has the slope -q in the
    # lead; with scale s and shift t the lead is 2 (1/2) (2 s + t) on one side and 2 (1/2) (2 s - t) on the other.
    learner = FiLM(Network(OneChannel(), 1), steps=1, lr=0.5, start="prototypes", start_scale=0.125)
    task = learner.adapt(SupportSet(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1), torch.tensor([0, 1])))
    q = torch.tensor(-2.0).sigmoid()
    torch.testing.assert_close(task["backbone.normalisation.weight"], 1 + 0.5 * 2 * q[None], rtol=0, atol=20 * EPSILON)
    torch.testing.assert_close(task["backbone.normalisation.bias"], torch.zeros(1))


def test_a_task_is_scale_shift_and_head(generator: torch.Generator) -> None:
    task = FiLM(make_network()).adapt(make_support_set(generator))
    layers = [f"backbone.blocks.{index}.normalisation" for index in (0, 1)]
    assert set(task) == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")} | {
        "head.weight",
        "head.bias",
    }


def test_the_artifact_is_small(generator: torch.Generator) -> None:
    network = make_network(backbone="conv4", dtype=torch.float32)
    support = make_support_set(generator, counts=(1,) * 5, side_px=28, dtype=torch.float32)
    film, maml = FiLM(network).adapt(support), LEARNERS["maml"](network).adapt(support)
    assert sum(tensor.numel() for name, tensor in film.items() if name.startswith("backbone.")) == 512
    assert 30 * len(task_to_bytes(film)) < len(task_to_bytes(maml))


@pytest.mark.parametrize("statistics", ["running", "support"])
@pytest.mark.parametrize("start", ["zero", "prototypes"])
def test_meta_gradients_agree_with_finite_differences(start: str, statistics: str, generator: torch.Generator) -> None:
    learner = LEARNERS["film"](make_network(statistics=statistics), steps=3, lr=0.2, start=start, start_scale=0.1)
    episodes, direction = [make_episode(generator), make_episode(generator)], random_direction(learner, generator)
    learner.backward(episodes)
    analytic = slope_by_gradient(learner, direction)
    numeric = slope_by_differences(learner, direction, lambda: learner.backward(episodes))
    torch.testing.assert_close(numeric, analytic, rtol=1e-4, atol=1e-7)


def test_a_backbone_without_normalisation_is_refused() -> None:
    with pytest.raises(InvalidOption, match="no normalisation whose scale and shift could be adapted; use anil"):
        FiLM(Network(nn.Flatten(), 4))
