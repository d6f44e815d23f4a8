"""Pixels to network input, by hand."""

import pytest
import torch

from service.errors import CheckpointError
from service.metalearning.header import PixelScaling
from service.metalearning.preprocessing import scaled, views


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


def test_the_views_of_an_image_stand_side_by_side() -> None:
    images = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])
    seen = views(images, ("identity", "mirror"))
    assert seen.flatten(1).tolist() == [[1.0, 2.0], [2.0, 1.0], [3.0, 4.0], [4.0, 3.0]]


def test_one_view_is_the_image() -> None:
    images = torch.tensor([[[[1.0, 2.0]]]])
    assert torch.equal(views(images, ("identity",)), images)


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(CheckpointError, match="view 'upside-down' is unknown; known are identity, mirror"):
        views(torch.zeros(1, 1, 2, 2), ("identity", "upside-down"))
