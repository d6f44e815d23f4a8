"""Random distortions of training images, each image with its own.

Why our own beside torchvision's transforms: those draw once for a whole batch, so every image of an episode would
turn by the same angle, and called image by image they take longer than the network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

Pixels = UInt8[Tensor, "n channels height width"]
Transform: TypeAlias = Callable[[Pixels], Pixels]
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class AugmentationSettings:
    """How far images are distorted; 0 switches a distortion off.

    Attributes:
        rotation_deg: largest angle, either way.
        shift: largest shift, as a part of the side.
        scale: largest stretch of each axis: 0.15 is between 1/1.15 and 1.15.
        shear_deg: largest angle of shear.
        brightness: largest change of brightness, as `v2.ColorJitter` takes it; contrast and saturation too.
        flip: mirror every second image, left to right.
    """

    rotation_deg: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    shear_deg: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    flip: bool = False

    @property
    def is_affine(self) -> bool:
        """Whether any image is moved."""
        return any((self.rotation_deg, self.shift, self.scale, self.shear_deg))

    @property
    def is_coloured(self) -> bool:
        """Whether colours change."""
        return any((self.brightness, self.contrast, self.saturation))


def build_augmentation(settings: AugmentationSettings) -> Transform:
    """The transform of a batch of uint8 images that these settings ask for."""
    steps: list[Transform] = []
    if settings.is_affine:
        steps.append(partial(moved, settings=settings))
    if settings.flip:
        steps.append(mirrored)
    if settings.is_coloured:
        steps.append(partial(coloured, settings=settings))

    def whole(pixels: Pixels) -> Pixels:
        for step in steps:
            pixels = step(pixels)
        return pixels

    return whole


def augmented(pixels: Pixels, transform: Transform, generator: torch.Generator) -> Pixels:
    """The pixels transformed, with every random choice drawn from the generator.

    The transforms draw from torch's global generator, so that one is seeded for the length of the call and put back.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        result: Pixels = transform(pixels)
    return result


def moved(pixels: Pixels, settings: AugmentationSettings) -> Pixels:
    """Each image turned, shifted, stretched and sheared by itself; what comes into view is white."""
    ink = 255 - pixels.float()  # so that the zeros from outside the image are white
    grid = affine_grid(_matrices(settings, len(ink)), list(ink.shape), align_corners=False)
    inside = grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (255 - inside).round().to(torch.uint8)


def mirrored(pixels: Pixels) -> Pixels:
    """Every second image, by chance, left to right."""
    return torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels.flip(-1), pixels)


def coloured(pixels: Pixels, settings: AugmentationSettings) -> Pixels:
    """Brightness, contrast and saturation of each image changed by factors of its own, in this order.

    The factors are those of `v2.ColorJitter`: between 1 - x and 1 + x, of black, of the mean grey, of the grey image.
    """
    values = pixels.float() * _factors(len(pixels), settings.brightness)
    mean_grey = _grey(values).mean((1, 2, 3), keepdim=True)
    values = torch.lerp(mean_grey, values, _factors(len(pixels), settings.contrast))
    if pixels.shape[1] == len(_LUMA):
        values = torch.lerp(_grey(values), values, _factors(len(pixels), settings.saturation))
    return values.clamp(0, 255).round().to(torch.uint8)


def _grey(values: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n 1 height width"]:
    if values.shape[1] != len(_LUMA):
        return values
    return (values * values.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def _factors(n_images: int, bound: float) -> Float[Tensor, "n_images 1 1 1"]:
    return (1 + _uniform(n_images, bound)).clamp(min=0)[:, None, None, None]


def _matrices(settings: AugmentationSettings, n_images: int) -> Float[Tensor, "n_images 2 3"]:
    """Where each pixel of the result is looked up: rotation, after shear, after scaling, and a shift."""
    angle = _uniform(n_images, math.radians(settings.rotation_deg))
    shear = _uniform(n_images, math.radians(settings.shear_deg)).tan()
    across = _uniform(n_images, math.log1p(settings.scale)).exp()
    down = _uniform(n_images, math.log1p(settings.scale)).exp()
    shift = _uniform(2 * n_images, 2 * settings.shift).view(2, n_images)  # the grid is 2 wide
    cos, sin = angle.cos(), angle.sin()
    rows = [cos * across, (shear * cos - sin) * across, shift[0], sin * down, (shear * sin + cos) * down, shift[1]]
    return torch.stack(rows, dim=1).view(n_images, 2, 3)


def _uniform(count: int, bound: float) -> Tensor:
    return (2 * torch.rand(count) - 1) * bound
