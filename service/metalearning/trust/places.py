"""The same images as if taken elsewhere: what a calibration must allow for and one data set does not have.

Examples are mostly taken at one place, in one light, often in a burst; the images that a task is asked about are taken
elsewhere. Held-out examples do not show that. Here each class gets a place of its own, a cut and a light that its
images share but for a little, and another place for its queries; or a few images of it become bursts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

Pixels = UInt8[Tensor, "n 3 height width"]

SMALLEST_SIDE = 0.6
"""Of a cut, as a part of the image's."""
LIGHT = 0.4
"""Largest change of brightness and of contrast."""
CAST = 0.15
"""Largest change of the brightness of one colour."""
WOBBLE = 0.25
"""How far images of one place differ, as a part of how far places do."""
LARGEST_BLUR = 2.5
"""Image pixels of a scene that was taken coarser."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """How images of one place are taken.

    Attributes:
        values: each of 0..1: side, top and left of the cut, light, contrast, red, green, blue, blur.
    """

    values: Float[Tensor, " 9"]


def any_place(generator: torch.Generator) -> Place:
    """A place by lot."""
    return Place(torch.rand(9, generator=generator))


def taken_at(pixels: Pixels, place: Place, generator: torch.Generator) -> Pixels:
    """The images taken at the place, each a little differently."""
    wobble = WOBBLE * (torch.rand(len(pixels), 9, generator=generator) - 0.5)
    values = (place.values + wobble).clamp(0, 1)
    taken = [_taken(image[None], of_image) for image, of_image in zip(pixels.float(), values, strict=True)]
    return torch.cat(taken).clamp(0, 255).round().to(torch.uint8)


def coarse(pixels: Pixels, side_px: int) -> Pixels:
    """The images as if they had this side, at their own."""
    small = F.interpolate(pixels.float(), size=(side_px, side_px), mode="area")
    return F.interpolate(small, size=pixels.shape[-2:], mode="bilinear").round().to(torch.uint8)


def _taken(image: Float[Tensor, "1 3 height width"], values: Float[Tensor, " 9"]) -> Float[Tensor, "1 3 height width"]:
    side, top, left, light, contrast, *_, blur = values.tolist()
    full = image.shape[-1]
    cut = round(full * (SMALLEST_SIDE + (1 - SMALLEST_SIDE) * side))
    y, x = round(top * (full - cut)), round(left * (full - cut))
    kept = max(1, round(cut / (1 + (LARGEST_BLUR - 1) * blur)))
    seen = F.interpolate(image[..., y : y + cut, x : x + cut], size=(kept, kept), mode="bilinear", antialias=True)
    seen = F.interpolate(seen, size=(full, full), mode="bilinear")
    mean = seen.mean()
    cast = 1 + CAST * (2 * values[5:8, None, None] - 1)
    taken: Tensor = ((seen - mean) * (1 + LIGHT * (2 * contrast - 1)) + mean) * (1 + LIGHT * (2 * light - 1)) * cast
    return taken
