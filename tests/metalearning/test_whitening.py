"""The projection in closed form: what differs within classes is shortened."""

import pytest
import torch

from service.metalearning.whitening import covariance_within, whitening


def test_the_covariance_is_that_around_the_class_means() -> None:
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [5.0, 7.0], [5.0, 8.0]])
    found = covariance_within(features, torch.tensor([0, 0, 1, 1]))
    assert found.flatten().tolist() == pytest.approx([0.8, 0, 0, 0.2])


def test_a_direction_is_shortened_to_the_spread_of_the_rest() -> None:
    covariance = torch.diag(torch.tensor([0.1, 0.8, 0.1]))
    directions, shortening = whitening([covariance], floor=0.0, rank=1)
    assert directions.abs().flatten().tolist() == pytest.approx([0, 1, 0])
    assert shortening.item() == pytest.approx(1 - (0.1 / 0.8) ** 0.5)


def test_a_high_floor_leaves_the_features_as_they_are() -> None:
    covariance = torch.diag(torch.tensor([0.1, 0.8, 0.1]))
    _, shortening = whitening([covariance], floor=1e6, rank=1)
    assert shortening.item() == pytest.approx(0, abs=1e-5)


def test_every_domain_counts_the_same() -> None:
    one, other = torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))
    _, shortening = whitening([one, other], floor=1.0, rank=1)
    assert shortening.item() == pytest.approx(0, abs=1e-6)
