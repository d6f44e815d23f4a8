"""Networks of torchvision as backbones: without their last layer, frozen, refused where they do not fit."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

# torchvision has no type hints.
from torchvision import models  # type: ignore[import-untyped]

from service.errors import CheckpointError
from service.metalearning.backbones import build_backbone
from service.metalearning.ensemble import Ensemble
from service.metalearning.header import BackboneSpec, Setting, file_digest
from service.metalearning.torchvision_backbone import TorchvisionNetwork, default_weights, expected_input
from tests.metalearning.random_weights import save_random_weights

SIDE_PX = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with dropout before its last layer and batch normalisation, for 7 classes."""
    return save_random_weights("mobilenet_v3_small", tmp_path_factory.mktemp("weights"), num_classes=7)


@pytest.fixture(scope="module")
def backbone(weights: Path) -> Ensemble:
    """The backbone of these weights."""
    backbone = build_backbone(spec(weights), beside=weights.parent)
    assert isinstance(backbone, Ensemble)
    return backbone


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    """Noise."""
    return torch.randn(4, 3, SIDE_PX, SIDE_PX, generator=generator)


def spec(weights: Path) -> BackboneSpec:
    """What a header says of the network in a file that is named after it."""
    arguments: dict[str, Setting] = {
        "weights_file": weights.name,
        "weights_sha256": file_digest(weights),
        "side_px": SIDE_PX,
        "rank": 2,
    }
    return BackboneSpec(f"torchvision:{weights.stem}", arguments)


def test_features_are_what_enters_the_last_layer(weights: Path, backbone: Ensemble, images: Tensor) -> None:
    published = models.mobilenet_v3_small(num_classes=7).eval()
    published.load_state_dict(torch.load(weights, weights_only=True))
    seen: list[Tensor] = []
    published.classifier[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        published(images)
        torch.testing.assert_close(backbone.pooled(images), [seen[0]])
        torch.testing.assert_close(backbone(images), seen[0] / seen[0].norm(dim=1, keepdim=True))


def test_features_do_not_depend_on_the_mode(backbone: Ensemble, images: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    in_evaluation = backbone.eval()(images)
    in_training = backbone.train()(images)
    assert torch.equal(in_training, in_evaluation)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_features_of_an_image_ignore_the_images_beside_it(backbone: Ensemble, images: Tensor) -> None:
    alone = torch.cat([backbone(image[None]) for image in images])
    torch.testing.assert_close(backbone(images), alone, rtol=0, atol=1e-5)


def test_nothing_of_the_backbone_asks_for_a_gradient(backbone: Ensemble) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_only_what_was_learned_is_not_from_the_file(backbone: Ensemble) -> None:
    learned = {"directions", "shortening", *(f"members.0.{name}" for name in ("centre", "gains", "shifts"))}
    assert backbone.state_dict().keys() - backbone.packaged_state == learned


@pytest.mark.parametrize("model", ["squeezenet1_0", "squeezenet1_1"])
def test_a_network_without_a_linear_end_is_refused(model: str) -> None:
    with pytest.raises(CheckpointError, match=f"{model} has no linear layer at its end, but classifier.1, a Conv2d"):
        TorchvisionNetwork(model, side_px=SIDE_PX, state={})


def test_a_network_that_torchvision_does_not_have_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"no classification network 'resnet17'; it has .*resnet18"):
        build_backbone(spec_of("resnet17"))


def test_arguments_that_are_missing_are_told() -> None:
    with pytest.raises(CheckpointError, match=r"'torchvision:resnet18' cannot be built: .*weights_file"):
        build_backbone(BackboneSpec("torchvision:resnet18"))


def test_published_weights_that_are_missing_are_told_with_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = "resnet18-f37072fd.pth"
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path / file}' https://download.pytorch.org/models")):
        build_backbone(spec_of("resnet18", weights_file=file), beside=tmp_path)


def test_weights_are_found_in_the_cache_of_torch_hub(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / weights.name).symlink_to(weights)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert isinstance(build_backbone(spec(weights), beside=tmp_path), Ensemble)


@pytest.mark.parametrize(
    "change",
    [lambda state: state.pop("features.0.0.weight"), lambda state: state.update({"features.99.weight": torch.ones(1)})],
)
def test_weights_of_another_network_are_refused(weights: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = torch.load(weights, weights_only=True)
    change(state)
    with pytest.raises(CheckpointError, match="the weights are not those of mobilenet_v3_small"):
        TorchvisionNetwork("mobilenet_v3_small", side_px=SIDE_PX, state=state)


def test_classifiers_for_training_alone_are_passed_over() -> None:
    state = models.googlenet(init_weights=False).state_dict()
    assert any(name.startswith("aux1.") for name in state)
    assert TorchvisionNetwork("googlenet", side_px=SIDE_PX, state=state).n_features == 1024


def test_names_of_old_files_are_understood() -> None:
    state = models.densenet121().state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor for name, tensor in state.items()}
    assert old.keys() != state.keys()
    assert TorchvisionNetwork("densenet121", side_px=SIDE_PX, state=old).n_features == 1024


def test_images_are_scaled_as_the_published_weights_want_them() -> None:
    wanted, scaling = expected_input("efficientnet_v2_l")
    assert (wanted.side_px, wanted.channels, wanted.fit, wanted.resampling) == (480, 3, "stretch", "bicubic")
    assert (scaling.mean, scaling.std) == ((0.5,) * 3, (0.5,) * 3)


def test_the_preferred_weights_have_an_address() -> None:
    assert default_weights("convnext_tiny").startswith("https://download.pytorch.org/models/convnext_tiny-")


def spec_of(model: str, *, weights_file: str = "own.pth") -> BackboneSpec:
    """What a header says of a network whose file is not there."""
    arguments: dict[str, Setting] = {
        "weights_file": weights_file,
        "weights_sha256": "0" * 64,
        "side_px": SIDE_PX,
        "rank": 2,
    }
    return BackboneSpec(f"torchvision:{model}", arguments)
