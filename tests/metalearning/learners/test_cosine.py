"""The cosine head: a step on paper, and that lengths do not matter, in the fit and in the answer."""

import math

import torch
from torch import nn

from service.metalearning.episodes import SupportSet
from service.metalearning.learners.base import Network
from service.metalearning.learners.cosine import Cosine
from tests.metalearning.small_tasks import (
    make_episode,
    make_network,
    random_direction,
    slope_by_differences,
    slope_by_gradient,
)


def test_before_the_first_step_the_weights_are_mean_directions() -> None:
    # Class 0 has the directions (1, 0) and (0, 1), whose mean points to (1, 1); class 1 has (0, -1).
    features = torch.tensor([[3.0, 0.0], [0.0, 0.1], [0.0, -2.0]])
    head = Cosine(make_network(), steps=0, scale=2.0).head(features, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(head["head.weight"], torch.tensor([[math.sqrt(2), math.sqrt(2)], [0.0, -2.0]]))
    assert head["head.unit_length"] == 1


def test_one_step_is_what_paper_gives() -> None:
    # Directions (1, 0) and (0, 1) at scale 1: the logits of the right class are 1 and of the other 0, so the other
    # one has q = 1 / (1 + e). Each image weighs 1/2: row 0 moves to (1 + a, -a) with a = lr q / 2, then to length 1.
    features = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    head = Cosine(make_network(), steps=1, lr=0.8, scale=1.0).head(features, torch.tensor([0, 1]))
    a = 0.4 / (1 + math.e)
    length = math.hypot(1 + a, a)
    torch.testing.assert_close(head["head.weight"], torch.tensor([[1 + a, -a], [-a, 1 + a]]) / length)
    torch.testing.assert_close(head["head.bias"], torch.zeros(2))


def test_an_answer_is_about_the_direction_of_the_features() -> None:
    learner = Cosine(Network(nn.Flatten(), 2), steps=0, scale=3.0)
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).reshape(3, 1, 1, 2)
    task = learner.adapt(SupportSet(images[:2], torch.tensor([0, 1])))
    cosines = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    torch.testing.assert_close(learner.predict(task, images), (3 * cosines).softmax(1))
    torch.testing.assert_close(learner.predict(task, 50 * images), (3 * cosines).softmax(1))


def test_features_of_zero_are_equally_far_from_every_class() -> None:
    learner = Cosine(Network(nn.Flatten(), 2))
    task = learner.adapt(SupportSet(torch.eye(2).reshape(2, 1, 1, 2), torch.tensor([0, 1])))
    torch.testing.assert_close(learner.predict(task, torch.zeros(1, 1, 1, 2)), torch.tensor([[0.5, 0.5]]))


def test_meta_gradients_agree_with_finite_differences(generator: torch.Generator) -> None:
    learner = Cosine(make_network(), steps=4, lr=0.3, scale=3.0).double()
    episodes = [make_episode(generator), make_episode(generator, counts=(1, 2, 3))]
    direction = random_direction(learner, generator)
    learner.backward(episodes)
    analytic = slope_by_gradient(learner, direction)
    numeric = slope_by_differences(learner, direction, lambda: learner.backward(episodes))
    torch.testing.assert_close(numeric, analytic, rtol=1e-4, atol=1e-7)
