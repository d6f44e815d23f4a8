"""Pixels to network input, by hand."""

import pytest
import torch

from service.errors import CheckpointError
from service.metalearning.header import PixelScaling
from service.metalearning.preprocessing import scaled


def test_pixels_are_centred_and_divided_by_channel() -> None:
    pixels = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    floats = scaled(pixels, PixelScaling(mean=(0.5, 0.2), std=(0.5, 0.1)))
    torch.testing.assert_close(floats, torch.tensor([[[[-1.0, 1.0]], [[0.0, 2.0]]]]))


def test_ink_can_be_made_bright() -> None:
    pixels = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)
    floats = scaled(pixels, PixelScaling(mean=(0.0,), std=(1.0,), invert=True))
    torch.testing.assert_close(floats, torch.tensor([[[[1.0, 0.0, 0.8]]]]))


def test_scaling_for_other_channels_is_refused() -> None:
    with pytest.raises(CheckpointError, match="pixel scaling for 3 channels, images have 1"):
        scaled(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), PixelScaling(mean=(0.0,) * 3, std=(1.0,) * 3))
