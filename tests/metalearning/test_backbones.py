"""The backbones: sizes, names, and one function whichever way their statistics come in."""

import pytest
import torch
from torch.func import functional_call

from service.errors import CheckpointError
from service.metalearning.backbones import ConvBackbone, build_backbone
from service.metalearning.header import BackboneSpec, Setting
from service.metalearning.normalisation import BatchStatistics, named_statistics


@pytest.mark.parametrize(
    ("arguments", "n_features"),
    [
        ({}, 256),
        ({"pool": "max"}, 64),
        ({"side_px": 84, "pool": "max"}, 1600),
        ({"side_px": 33, "channels": 3, "filters": 8}, 72),
        ({"side_px": 1}, 64),
    ],
)
def test_conv4_says_how_many_features_it_gives(arguments: dict[str, Setting], n_features: int) -> None:
    backbone = build_backbone(BackboneSpec("conv4", arguments))
    side_px, channels = int(arguments.get("side_px", 28)), int(arguments.get("channels", 1))
    features = backbone(torch.zeros(2, channels, side_px, side_px))
    assert backbone.n_features == n_features
    assert features.shape == (2, n_features)


def test_conv4_has_the_published_kernels() -> None:
    shapes = [tuple(p.shape) for name, p in ConvBackbone().named_parameters() if name.endswith("conv.weight")]
    assert shapes == [(64, 1, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3)]


@pytest.mark.parametrize("pool", ["stride", "max"])
def test_features_are_the_same_whether_statistics_are_folded_in_or_not(pool: str, generator: torch.Generator) -> None:
    backbone = build_backbone(BackboneSpec("tiny", {"pool": pool})).double()
    images = torch.randn(6, 1, 8, 8, generator=generator).double()
    batch = BatchStatistics(torch.full((6,), 1 / 6).double())
    by_batch = backbone(images, batch)
    folded = functional_call(backbone, named_statistics(backbone, batch), (images,))
    torch.testing.assert_close(folded, by_batch)


def test_a_mirrored_backbone_takes_an_image_and_its_mirror_image_for_the_same(generator: torch.Generator) -> None:
    plain, mirrored = ConvBackbone(3, 8, side_px=16), ConvBackbone(3, 8, side_px=16, mirrored=True)
    mirrored.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 16, 16, generator=generator)
    torch.testing.assert_close(mirrored(images), mirrored(images.flip(-1)))
    torch.testing.assert_close(mirrored(images), (plain(images) + plain(images.flip(-1))) / 2)
    assert not torch.allclose(plain(images), plain(images.flip(-1)))


def test_a_blank_image_has_features(generator: torch.Generator) -> None:
    batch = BatchStatistics()
    assert ConvBackbone()(torch.ones(3, 1, 28, 28), batch).isfinite().all()


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(CheckpointError, match="backbone 'conv5' is unknown; known are conv4"):
        build_backbone(BackboneSpec("conv5"))


@pytest.mark.parametrize("arguments", [{"colour": 3}, {"pool": "mean"}, {"statistics": "query"}, {"filters": -1}])
def test_a_wrong_argument_is_refused(arguments: dict[str, Setting]) -> None:
    with pytest.raises(CheckpointError, match="backbone 'conv4' cannot be built"):
        build_backbone(BackboneSpec("conv4", arguments))


def test_images_that_pooling_would_use_up_are_refused() -> None:
    with pytest.raises(CheckpointError, match="images of 8 px are too small for 4 blocks; need 16 px"):
        build_backbone(BackboneSpec("conv4", {"side_px": 8, "pool": "max"}))
