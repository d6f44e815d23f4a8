"""Any classification network of torchvision as a frozen backbone: `torchvision:NAME`.

Its features are what enters the last linear layer of its classifier. That layer is the last module with parameters of
its own: so it is with all networks that torchvision lists but SqueezeNet, which ends in a convolution and is refused.
The weights come from a file (`weights_files`), so that a checkpoint holds only what was learned here. All this was run
with random weights only.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from jaxtyping import Float
from torch import Tensor, nn

# torchvision has no type hints.
from torchvision import models  # type: ignore[import-untyped]

from service.errors import CheckpointError
from service.metalearning.ensemble import Ensemble
from service.metalearning.episodes import Images
from service.metalearning.header import InputFormat, PixelScaling, Resampling
from service.metalearning.members import Member
from service.metalearning.weights_files import StateDict, WeightsFile, hub_folder, read_weights

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIDE_PX = 224
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Classifiers that the Inception networks have for training alone."""
_OLD_DENSE_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


class TorchvisionNetwork(Member):
    """A network of torchvision without its last layer. It stays in evaluation mode: no dropout, no batch's moments.

    Args:
        model: its name.
        side_px: of the images; a vision transformer has weights for one side alone.
        state: its weights. Those of the last layer, for however many classes, are passed over.

    Raises:
        CheckpointError: there is no such network, it has no linear end, or the weights are those of another one.
    """

    def __init__(self, model: str, *, side_px: int, state: StateDict) -> None:
        network = _untrained(model, side_px)
        name, end = _linear_end(network, model)
        super().__init__([end.in_features])
        self.network = network
        self.network.set_submodule(name, nn.Identity())
        _load(self.network, _without(state, name), model)
        self.freeze()

    def pooled(self, images: Images) -> Float[Tensor, "n n_features"]:
        """Features as the network's own classifier saw them."""
        features: Tensor = self.network(images)
        return features


def torchvision_backbone(
    model: str,
    *,
    weights_file: str,
    weights_sha256: str,
    side_px: int,
    rank: int,
    beside: Path | None = None,
) -> Ensemble:
    """One network as an ensemble, for what is learned of its features.

    Args:
        model: its name.
        weights_file: name of the file of its weights.
        weights_sha256: what that file must have.
        side_px: of the images.
        rank: how many directions of the features are shortened.
        beside: the folder of the checkpoint, where the file is looked for before torch hub's cache.

    Raises:
        CheckpointError: the file is missing, or the network cannot be built from it.
    """
    url = next((url for url in _urls(model) if url.endswith(f"/{weights_file}")), None)
    folders = [*([] if beside is None else [beside]), hub_folder()]
    state = read_weights(WeightsFile(weights_file, weights_sha256, url), folders)
    return Ensemble([TorchvisionNetwork(model, side_px=side_px, state=state)], sides_px=[side_px], rank=rank)


def default_weights(model: str) -> str:
    """The URL of the weights that torchvision prefers.

    Raises:
        CheckpointError: there is no such network, or no weights of it.
    """
    weights = _default(model)
    if weights is None:
        raise CheckpointError(f"torchvision has no weights of {model}; name a file with --weights")
    return str(weights.url)


def expected_input(model: str) -> tuple[InputFormat, PixelScaling]:
    """What images the preferred weights were trained on, whole instead of their middle; ImageNet's where none say."""
    weights = _default(model)
    crop = weights.transforms() if weights else None
    side_px = getattr(crop, "crop_size", [_SIDE_PX])[0]
    filter_ = getattr(getattr(crop, "interpolation", None), "value", None)
    resampling = cast("Resampling", filter_) if filter_ in get_args(Resampling) else "bilinear"
    mean, std = (
        tuple(getattr(crop, name, other)) for name, other in (("mean", _IMAGENET_MEAN), ("std", _IMAGENET_STD))
    )
    return InputFormat(side_px, channels=3, fit="stretch", resampling=resampling), PixelScaling(mean, std)


def _default(model: str) -> Any:  # noqa: ANN401  # an enum of torchvision
    _check_name(model)
    return getattr(models.get_model_weights(model), "DEFAULT", None)


def _urls(model: str) -> Sequence[str]:
    _check_name(model)
    return [weights.url for weights in models.get_model_weights(model)]


def _check_name(model: str) -> None:
    known = models.list_models(module=models)
    if model not in known:
        raise CheckpointError(f"torchvision has no classification network {model!r}; it has {', '.join(known)}")


def _untrained(model: str, side_px: int) -> nn.Module:
    """The network that published weights fit."""
    _check_name(model)
    options: Mapping[str, object] = {}
    if model in {"googlenet", "inception_v3"}:  # published weights expect pixels scaled in a way of their own
        options = {"transform_input": True, "aux_logits": False, "init_weights": False}
    elif model.startswith("vit_"):
        options = {"image_size": side_px}
    network: nn.Module = models.get_model(model, weights=None, **options)
    return network


def _linear_end(network: nn.Module, model: str) -> tuple[str, nn.Linear]:
    """The last layer and its name."""
    layers = [(name, layer) for name, layer in network.named_modules() if [*layer.parameters(recurse=False)]]
    name, end = layers[-1]
    if not isinstance(end, nn.Linear):
        raise CheckpointError(f"{model} has no linear layer at its end, but {name}, a {type(end).__name__}")
    return name, end


def _without(state: StateDict, end: str) -> StateDict:
    """The weights without the last layer and those for training alone, by today's names; changes the state dict.

    It stays the same object, because torch keeps the versions of its layers beside its tensors.
    """
    for name in list(state):
        tensor = state.pop(name)
        if not name.startswith((f"{end}.", *_AUXILIARY)):
            state[_OLD_DENSE_NAME.sub(r"\1\2.", name)] = tensor
    return state


def _load(network: nn.Module, state: StateDict, model: str) -> None:
    try:
        network.load_state_dict(cast("Mapping[str, Any]", state))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"the weights are not those of {model}: {error}") from error
