"""Cuts of photographs and signs before a ground, made small."""

import torch
from torch import Tensor

from service.metalearning.made_images import cuts, signs

SIDE_PX = 64


def glyph() -> Tensor:
    """A black bar on white."""
    image = torch.full((3, SIDE_PX, SIDE_PX), 255, dtype=torch.uint8)
    image[:, 8:56, 28:36] = 0
    return image


def grounds() -> Tensor:
    """A dark ground and a light one."""
    return torch.stack([torch.full((3, SIDE_PX, SIDE_PX), value, dtype=torch.uint8) for value in (20, 230)])


def test_a_cut_shows_nothing_but_its_part_of_the_photograph(generator: torch.Generator) -> None:
    halves = torch.zeros(3, SIDE_PX, SIDE_PX, dtype=torch.uint8)
    halves[0, :, : SIDE_PX // 2] = 200
    found = cuts(halves, 40, generator)
    assert found.shape == (40, 3, SIDE_PX, SIDE_PX)
    assert found[:, 1:].max() == 0
    means = found[:, 0].float().mean(dim=(1, 2))
    assert means.min() == 0
    assert means.max() == 200


def test_images_of_a_sign_have_the_side_of_their_grounds_and_differ(generator: torch.Generator) -> None:
    found = signs(glyph(), grounds(), 6, generator)
    assert found.shape == (6, 3, SIDE_PX, SIDE_PX)
    assert found.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in found}) == 6


def test_the_same_generator_draws_the_same_sign() -> None:
    first, again = (signs(glyph(), grounds(), 3, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)


def test_a_sign_covers_the_middle_of_its_image_and_not_the_corners_of_all(generator: torch.Generator) -> None:
    dark = grounds()[:1]
    found = torch.cat([signs(glyph(), dark, 4, generator) for _ in range(10)]).float()
    off_the_ground = (found[..., 28:36, 28:36] - found[..., :4, :4].mean(dim=(2, 3), keepdim=True)).abs()
    assert (off_the_ground.amax(dim=(1, 2, 3)) > 20).float().mean() > 0.9
