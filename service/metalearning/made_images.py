"""Images of made kinds, for domains that no data set at hand covers: cuts of photographs, and signs before a ground.

A projection that is learned on photographs of things does less for flat signs seen from afar than one that saw signs.
Here a texture is the photograph that a small cut is of, and a sign is a shape of two colours
with a glyph on it, in any light, at few pixels. `photo` tells what each domain gives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

Pixels = UInt8[Tensor, "n 3 height width"]
Choice = TypeVar("Choice")
Grounds = UInt8[Tensor, "n_grounds 3 height width"]
Picture = UInt8[Tensor, "3 height width"]

CUT_SIDES = (0.3, 0.5)
"""Smallest and largest side of a cut, as parts of the photograph's."""

_WORKING_PX = 96
_SIGN_PX = (20, 32, 32)
"""Sides of which a sign's image has one; then it is scaled up."""
_SHAPES = ((3, -90.0), (3, 90.0), (4, 45.0), (4, 0.0), (8, 22.5), (32, 0.0))
"""Sides and the angle of the first corner: triangles on their side and corner, square, diamond, octagon, circle."""
_COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (220, 20, 30),
    "blue": (20, 40, 210),
    "yellow": (250, 220, 20),
}
_BORDERS = ("red", "black", "blue", "white")
_FILLS = ("white", "white", "yellow", "blue", "red")
_BORDER = 0.22
"""Its width, as a part of the sign's radius."""
_GLYPH = 0.5
"""Half the side of the glyph, as a part of the sign's radius."""
_NOISE = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class _Sign:
    """What the images of one kind of sign share; colours are of 0..255."""

    normals: Float[Tensor, "n_sides 2"]
    border: Float[Tensor, "3 1 1"]
    fill: Float[Tensor, "3 1 1"]
    ink: Float[Tensor, "3 1 1"]
    glyph: Float[Tensor, "1 1 height width"]


def cuts(photograph: Picture, n_images: int, generator: torch.Generator) -> Pixels:
    """Small square cuts of one photograph at any place, scaled to its side, each second one mirrored."""
    side = photograph.shape[-1]
    found = []
    for index, (size, top, left) in enumerate(torch.rand(n_images, 3, generator=generator).tolist()):
        cut = round(side * (CUT_SIDES[0] + size * (CUT_SIDES[1] - CUT_SIDES[0])))
        y, x = int(top * (side - cut)), int(left * (side - cut))
        part = _enlarged(photograph[None, :, y : y + cut, x : x + cut].float(), side)
        found.append(part.flip(-1) if index % 2 else part)
    return _as_pixels(torch.cat(found))


def signs(glyph: Picture, grounds: Grounds, n_images: int, generator: torch.Generator) -> Pixels:
    """Images of one kind of sign, whose shape and colours are drawn by lot.

    Args:
        glyph: ink on white.
        grounds: before one of which each image shows the sign, and whose side it has.
        n_images: how many.
        generator: decides everything.
    """
    sign = _any_sign(glyph, generator)
    chosen = torch.randint(len(grounds), (n_images,), generator=generator).tolist()
    return torch.cat([_seen(sign, grounds[index : index + 1], generator) for index in chosen])


def _any_sign(glyph: Picture, generator: torch.Generator) -> _Sign:
    n_sides, angle = _pick(_SHAPES, generator)
    border, fill = _pick(_BORDERS, generator), _pick(_FILLS, generator)
    ink = "white" if fill in {"blue", "red"} else "black"
    # A side lies half a step beyond its first corner.
    angles = math.radians(angle) + (torch.arange(n_sides) + 0.5) * 2 * math.pi / n_sides
    normals = torch.stack([angles.cos(), angles.sin()], dim=1) / math.cos(math.pi / n_sides)
    strokes = 1 - glyph.float().mean(0)[None, None] / 255
    return _Sign(normals, _colour(border), _colour(fill), _colour(ink), strokes)


def _seen(sign: _Sign, ground: Grounds, generator: torch.Generator) -> Pixels:
    """One image: the sign turned, near or far, before the ground, in some light, at few pixels."""
    turn, near, squeeze, right, down, gain, offset = torch.rand(7, generator=generator).tolist()
    radius = 0.6 + 0.35 * near  # of half the image
    points = _grid() - (1 - radius) * torch.tensor([2 * right - 1, 2 * down - 1])
    angle = math.radians(24 * turn - 12)
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = points @ rotation / (radius * torch.tensor([1.0, 0.85 + 0.3 * squeeze]))
    level = (points @ sign.normals.T).amax(-1)  # 1 on the edge
    ink = F.grid_sample(sign.glyph, points[None] / _GLYPH, align_corners=False)[0]
    image = F.interpolate(ground.float(), size=(_WORKING_PX, _WORKING_PX), mode="area")[0]
    image = torch.where(level < 1, sign.border, image)
    image = torch.where(level < 1 - _BORDER, ink * sign.ink + (1 - ink) * sign.fill, image)
    few = _pick(_SIGN_PX, generator)
    image = F.interpolate(image[None], size=(few, few), mode="area")
    noise = _NOISE * torch.randn(image.shape, generator=generator)
    return _as_pixels(_enlarged(image * (0.3 + 0.9 * gain) + 50 * offset - 10 + noise, ground.shape[-1]))


def _grid() -> Float[Tensor, "height width 2"]:
    """Pixel centres of the working image, -1..1, right and down."""
    centres = (torch.arange(_WORKING_PX) + 0.5) * 2 / _WORKING_PX - 1
    return torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)


def _enlarged(images: Float[Tensor, "n 3 h w"], side_px: int) -> Float[Tensor, "n 3 height width"]:
    return F.interpolate(images, size=(side_px, side_px), mode="bilinear")


def _as_pixels(images: Float[Tensor, "n 3 height width"]) -> Pixels:
    return images.clamp(0, 255).round().to(torch.uint8)


def _colour(name: str) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(_COLOURS[name], dtype=torch.float32)[:, None, None]


def _pick(choices: Sequence[Choice], generator: torch.Generator) -> Choice:
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]
