"""Several photograph backbones as one: their features beside each other, shortened along learned directions."""

import pytest
import torch
from torch.nn import functional as F

from service.errors import CheckpointError
from service.metalearning.backbones import build_backbone
from service.metalearning.efficientnet import WEIGHTS_SHA256, EfficientNetLite, efficientnet_ensemble
from service.metalearning.ensemble import Ensemble, shrinking
from service.metalearning.header import BackboneSpec, Setting


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Lite1 and Lite0 at sides of their own."""
    digests = f"{WEIGHTS_SHA256[1]},{WEIGHTS_SHA256[0]}"
    return efficientnet_ensemble(variants="1,0", sides_px="64,32", weights_sha256=digests, rank=2)


def test_without_directions_the_features_are_those_of_the_members(
    ensemble: Ensemble, generator: torch.Generator
) -> None:
    images = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    first = EfficientNetLite(variant=1, weights_sha256=WEIGHTS_SHA256[1], last_block=True)
    second = EfficientNetLite(variant=0, weights_sha256=WEIGHTS_SHA256[0], last_block=True)
    smaller = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    expected = torch.cat([first(images), second(smaller)], dim=1) / 2**0.5
    torch.testing.assert_close(ensemble(images), expected)


def test_a_direction_is_shortened_by_its_share(ensemble: Ensemble) -> None:
    features = torch.zeros(1, ensemble.n_features)
    features[0, :3] = torch.tensor([2.0, 3.0, 4.0])
    ensemble.directions[0, 0], ensemble.directions[1, 1] = 1, 1
    ensemble.shortening.copy_(torch.tensor([0.5, 1.0]))
    projected = ensemble.projected(features)
    ensemble.directions.zero_()
    ensemble.shortening.zero_()
    assert projected[0, :3].tolist() == pytest.approx([1 / 17**0.5, 0, 4 / 17**0.5])


def test_only_what_was_learned_is_saved(ensemble: Ensemble) -> None:
    assert ensemble.state_dict().keys() - ensemble.packaged_state == {
        "directions",
        "shortening",
        *(f"members.{index}.{name}" for index in range(2) for name in ("centre", "gains", "shifts")),
    }


def test_an_image_made_smaller_is_averaged() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(32)
    assert (shrinking(64, 16) @ stripes)[2:-2].tolist() == pytest.approx([0.5] * 12, abs=0.02)


def test_members_of_different_numbers_are_refused() -> None:
    arguments: dict[str, Setting] = {"variants": "1,0", "sides_px": "64", "weights_sha256": "", "rank": 2}
    with pytest.raises(CheckpointError, match="not of one length"):
        build_backbone(BackboneSpec("efficientnet-ensemble", arguments))
