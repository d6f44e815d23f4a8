"""What an ensemble learns: the centre is a mean, what differs within classes is shortened."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from service.errors import DatasetError
from service.metalearning.datasets import Dataset
from service.metalearning.ensemble import Ensemble
from service.metalearning.header import PixelScaling
from service.metalearning.members import Member
from service.metalearning.projection import (
    PHOTOGRAPHS,
    Domain,
    domains_from_file,
    domains_to_file,
    learn_projection,
    learned_from,
    seen_by_members,
)


class FirstPixels(Member):
    """The first four pixels of an image."""

    packaged_state = frozenset[str]()

    def __init__(self) -> None:
        super().__init__([4])

    def pooled(self, images: Tensor) -> Tensor:
        """The upper left pixels."""
        return images[:, 0, :2, :2].flatten(1)


@pytest.fixture
def ensemble() -> Ensemble:
    """One member, one direction."""
    return Ensemble([FirstPixels()], sides_px=[2], rank=1)


def domain(generator: torch.Generator, *, spread: tuple[float, ...]) -> Domain:
    """Two classes of 50 images that differ by so much in each feature."""
    labels = torch.arange(2).repeat_interleave(50)
    means = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    return Domain((means[labels] + torch.randn(100, 4, generator=generator) * torch.tensor(spread),), labels)


def test_the_centre_is_the_mean_of_the_photographs(ensemble: Ensemble, generator: torch.Generator) -> None:
    domains = {"drawings": domain(generator, spread=(1, 1, 1, 1)), PHOTOGRAPHS: domain(generator, spread=(1, 2, 3, 1))}
    learn_projection(ensemble, domains, floor=1.0)
    torch.testing.assert_close(ensemble.networks[0].centre, domains[PHOTOGRAPHS].pooled[0].mean(0))


def test_the_direction_in_which_images_of_a_class_differ_is_shortened(
    ensemble: Ensemble, generator: torch.Generator
) -> None:
    learn_projection(ensemble, {PHOTOGRAPHS: domain(generator, spread=(0.1, 0.1, 0.1, 5.0))}, floor=0.01)
    assert ensemble.directions[:, 0].abs().argmax() == 3
    assert 0.5 < float(ensemble.shortening[0]) < 1


def test_images_that_do_not_differ_within_classes_are_refused(ensemble: Ensemble) -> None:
    one_a_class = Domain((torch.eye(4),), torch.arange(4))
    with pytest.raises(DatasetError, match="no class has two images that differ"):
        learn_projection(ensemble, {PHOTOGRAPHS: one_a_class}, floor=1.0)


def test_every_image_is_seen_with_the_label_of_its_class(ensemble: Ensemble) -> None:
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    dataset = Dataset("three", images, ("a", "b"), (torch.tensor([0, 2]), torch.tensor([1])))
    seen = seen_by_members(ensemble, dataset, PixelScaling(mean=(0.0,), std=(1 / 255,)))
    torch.testing.assert_close(seen.pooled[0], torch.tensor([0.0, 1, 2])[:, None].expand(-1, 4))
    assert seen.labels.tolist() == [0, 1, 0]


def test_domains_can_be_kept_in_a_file(tmp_path: Path, generator: torch.Generator) -> None:
    domains = {PHOTOGRAPHS: domain(generator, spread=(1, 1, 1, 1))}
    domains_to_file(tmp_path / "domains", domains)
    kept = domains_from_file(tmp_path / "domains")
    torch.testing.assert_close(kept[PHOTOGRAPHS].pooled, domains[PHOTOGRAPHS].pooled, rtol=0, atol=1e-2)
    assert learned_from(kept) == "photographs (100 images)"
