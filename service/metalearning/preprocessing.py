"""Pixels to a network's floats, and the views of a support image that a head learner sees."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from service.errors import CheckpointError
from service.metalearning.header import PixelScaling

Floats = Float[Tensor, "n channels height width"]


def scaled(pixels: UInt8[Tensor, "n channels height width"], scaling: PixelScaling) -> Floats:
    """Network input on the pixels' device: (pixel / 255 - mean) / std, of 1 - pixel / 255 if `invert`.

    Raises:
        CheckpointError: mean or std do not have one entry per channel.
    """
    if not pixels.shape[1] == len(scaling.mean) == len(scaling.std):
        raise CheckpointError(f"pixel scaling for {len(scaling.mean)} channels, images have {pixels.shape[1]}")
    values = pixels.float() / 255
    if scaling.invert:
        values = 1 - values
    mean = values.new_tensor(scaling.mean)[:, None, None]
    std = values.new_tensor(scaling.std)[:, None, None]
    return (values - mean) / std


def views(images: Floats, names: Sequence[str]) -> Float[Tensor, "n_views channels height width"]:
    """Every named view of every image, the views of one image side by side.

    Row i * len(names) + j is view j of image i, so the labels that belong to it are
    `labels.repeat_interleave(len(names))`.

    Raises:
        CheckpointError: a view is unknown.
    """
    unknown = [name for name in names if name not in VIEWS]
    if unknown:
        raise CheckpointError(f"view {unknown[0]!r} is unknown; known are {', '.join(VIEWS)}")
    return torch.stack([VIEWS[name](images) for name in names], dim=1).flatten(0, 1)


def _identity(images: Floats) -> Floats:
    return images


def _mirror(images: Floats) -> Floats:
    return images.flip(-1)


VIEWS: Mapping[str, Callable[[Floats], Floats]] = {"identity": _identity, "mirror": _mirror}
