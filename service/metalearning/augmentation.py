"""Random distortions of training images, each image with its own, as torchvision transforms.

Why an affine transform of our own beside `v2.RandomAffine`: that one draws once for a whole batch, so every
image of an episode would turn by the same angle, and called image by image it takes longer than the network.
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

# torchvision ships no types
from torchvision.transforms import v2  # type: ignore[import-untyped]

Pixels = UInt8[Tensor, "n channels height width"]
Transform: TypeAlias = Callable[[Pixels], Pixels]


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
        steps.append(v2.Lambda(partial(moved, settings=settings)))
    if settings.flip:
        steps.append(v2.Lambda(partial(_of_each, transform=v2.RandomHorizontalFlip())))
    if settings.is_coloured:
        jitter = v2.ColorJitter(settings.brightness, settings.contrast, settings.saturation)
        steps.append(v2.Lambda(partial(_of_each, transform=jitter)))
    whole: Transform = v2.Compose(steps) if steps else v2.Identity()
    return whole


def augmented(pixels: Pixels, transform: Transform, generator: torch.Generator) -> Pixels:
    """The pixels transformed, with every random choice drawn from the generator.

    torchvision's transforms draw from torch's global generator, so that one is seeded for the length of the
    call and put back.
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


def _of_each(pixels: Pixels, transform: Transform) -> Pixels:
    return torch.stack([transform(image) for image in pixels])


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
