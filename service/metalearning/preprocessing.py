"""Pixels to a network's floats."""

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
