"""Calibrated heads, the unknown score, and the fit of their constants."""

import dataclasses
import json
import math

import pytest
import torch

from service.metalearning.calibration import calibration_from_json
from service.metalearning.learners.base import head_logits
from service.metalearning.learners.closed_form import ProtoNet
from service.metalearning.trust.answers import (
    SMALLEST_DISTANCE,
    calibrated,
    separation,
    unknown_scores,
    with_unknown,
)
from service.metalearning.trust.drawing import Domain
from service.metalearning.trust.fitting import fit
from tests.metalearning.small_tasks import make_network
from tests.metalearning.trust.test_assessment import CALIBRATION


def test_the_factor_follows_the_shape_of_the_task() -> None:
    # ln factor = ln n_shot for three images a class: logits are tripled.
    calibration = dataclasses.replace(CALIBRATION, factor=(0.0, 0.0, 1.0))
    task = ProtoNet(make_network()).head(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
    features = torch.tensor([[0.3], [2.0]])
    support, labels = torch.tensor([[0.0]] * 3 + [[1.0]] * 3), torch.tensor([0, 0, 0, 1, 1, 1])
    tripled = head_logits(calibrated(task, calibration, support, labels), features)
    torch.testing.assert_close(tripled, 3 * head_logits(task, features))


def test_the_factor_of_an_older_file_is_that_of_fewer_values() -> None:
    laws = [(0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.5), (0.0, 0.0, 1.0, 0.5, 2.0)]
    factors = [dataclasses.replace(CALIBRATION, factor=law).logit_factor([3, 3], -1.0) for law in laws]
    square = math.exp(0.5 * math.log(3) ** 2)
    assert factors == pytest.approx([3.0, 3.0 * square, 3.0 * square * math.exp(-2.0)])


def test_the_factor_follows_how_near_the_nearest_classes_are() -> None:
    # Means at 0, 2 and 8: nearest squared distances 4, 4 and 36.
    features, labels = torch.tensor([[-1.0], [1.0], [2.0], [8.0]]), torch.tensor([0, 0, 1, 2])
    assert separation(features, labels) == pytest.approx(math.log(44 / 3 + SMALLEST_DISTANCE))
    head = ProtoNet(make_network()).head(features, labels)
    calibration = dataclasses.replace(CALIBRATION, factor=(0.0, 0.0, 0.0, 0.0, 1.0))
    factor = calibrated(head, calibration, features, labels)["head.weight"] / head["head.weight"]
    torch.testing.assert_close(factor[1:], torch.full((2, 1), 44 / 3 + SMALLEST_DISTANCE))


def test_classes_of_the_same_images_have_a_finite_factor() -> None:
    assert separation(torch.ones(2, 3), torch.tensor([0, 1])) == pytest.approx(math.log(SMALLEST_DISTANCE))


def test_of_means_at_unit_length_the_angle_counts() -> None:
    features, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
    head = ProtoNet(make_network()).head(features, labels)
    # The mean of class 0 is (1/2, 1/2), of length 1/sqrt(2); at length 1 an image that points its way is upon it.
    calibration = dataclasses.replace(CALIBRATION, unit_means=True)
    image = torch.tensor([[math.sqrt(0.5), math.sqrt(0.5)]])
    torch.testing.assert_close(
        unknown_scores(with_unknown(head, calibration, features, labels), image),
        torch.tensor([0.5]),
        atol=1e-3,
        rtol=0,  # means are kept in half precision
    )


def test_an_image_far_from_every_class_is_unknown() -> None:
    features, labels = torch.tensor([[0.0], [2.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1])
    head = ProtoNet(make_network()).head(features, labels)
    # The logit is the squared distance to the nearest mean, 1 or 10.
    scores = unknown_scores(with_unknown(head, CALIBRATION, features, labels), torch.tensor([[1.0], [5.0]]))
    torch.testing.assert_close(scores, torch.tensor([0.0, 16.0]).sigmoid())


def test_a_head_without_constants_says_nothing_about_unknown_images() -> None:
    head = ProtoNet(make_network()).head(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
    assert unknown_scores(head, torch.tensor([[0.5]])) is None


def test_constants_survive_the_header() -> None:
    assert calibration_from_json(json.loads(json.dumps(dataclasses.asdict(CALIBRATION)))) == CALIBRATION


def test_fitted_constants_calibrate_and_tell_unknown_images(generator: torch.Generator) -> None:
    # Classes of noisy points; logits that are 5 times too bold.
    kinds = [torch.randn(8, generator=generator) + 0.8 * torch.randn(12, 8, generator=generator) for _ in range(8)]
    found = fit(ProtoNet(make_network(), scale=5.0), [Domain("points", kinds)], episodes=15)
    support, labels = torch.cat([kind[:5] for kind in kinds[:5]]), torch.arange(5).repeat_interleave(5)
    assert found.logit_factor([5] * 5, separation(support, labels)) < 0.5
    assert math.isfinite(found.held_out.low)
    assert found.unknown_weights([5] * 5)[1] > 0
    assert 0 < found.thresholds([5] * 5)["unknown_suggested"] < 1
