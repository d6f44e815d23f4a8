"""Calibrated heads, the unknown score, and the fit of their constants."""

import dataclasses
import json
import math

import pytest
import torch

from service.metalearning.calibration import calibration_from_json
from service.metalearning.learners.base import head_logits
from service.metalearning.learners.closed_form import ProtoNet
from service.metalearning.trust.answers import calibrated, unknown_scores, with_unknown
from service.metalearning.trust.drawing import Domain
from service.metalearning.trust.fitting import fit
from tests.metalearning.small_tasks import make_network
from tests.metalearning.trust.test_assessment import CALIBRATION


def test_the_factor_follows_the_shape_of_the_task() -> None:
    # ln factor = ln n_shot for three images a class: logits are tripled.
    calibration = dataclasses.replace(CALIBRATION, factor=(0.0, 0.0, 1.0))
    task = ProtoNet(make_network()).head(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
    features = torch.tensor([[0.3], [2.0]])
    tripled = head_logits(calibrated(task, calibration, [3, 3]), features)
    torch.testing.assert_close(tripled, 3 * head_logits(task, features))


def test_the_factor_of_an_older_file_is_that_of_three_values() -> None:
    older, newer = ((0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.5))
    shape = [3, 3]
    factors = [dataclasses.replace(CALIBRATION, factor=law).logit_factor(shape) for law in (older, newer)]
    assert factors == pytest.approx([3.0, 3.0 * math.exp(0.5 * math.log(3) ** 2)])


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
    assert found.logit_factor([5] * 5) < 0.5
    assert math.isfinite(found.held_out.low)
    assert found.unknown_weights([5] * 5)[1] > 0
    assert 0 < found.thresholds([5] * 5)["unknown_suggested"] < 1
