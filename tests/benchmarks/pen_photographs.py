"""Photographs of pen drawings, made: a drawing in coloured ink on a sheet, then light, lens, sensor and JPEG.

Every choice is drawn from the generator: the sheet's colour, its fibres, ruled or squared lines, the ink's colour and
how evenly the pen gives it, size and place of the drawing, the camera's tilt, a shadow, blur, noise and compression.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SHEET_PX = 360
_INKS = ((25, 25, 30), (30, 45, 130), (20, 60, 170), (170, 30, 40), (25, 110, 60), (95, 95, 100), (70, 40, 30))
_PAPERS = ((250, 250, 248), (240, 236, 225), (228, 218, 195), (225, 230, 238), (205, 190, 165))

Floats = NDArray[np.float64]


def pen_photograph(drawing: Image.Image, rng: np.random.Generator) -> bytes:
    """A JPEG of the drawing, whose dark strokes become ink on a sheet of paper."""
    sheet = _sheet(rng)
    ink = _strokes(drawing, rng)[..., None] * rng.uniform(0.75, 1.0)
    colour = np.array(_INKS[rng.integers(len(_INKS))], float)
    inked = sheet * (1 - ink) + np.minimum(sheet, colour) * ink
    photograph = Image.fromarray(inked.clip(0, 255).astype(np.uint8))
    photograph = _tilted(photograph, rng)
    lit = np.asarray(photograph, float) * _light(photograph.height, photograph.width, rng)[..., None]
    lit = np.asarray(Image.fromarray(lit.clip(0, 255).astype(np.uint8)).filter(_blur(rng)), float)
    noisy = lit + rng.normal(0, rng.uniform(1, 7), lit.shape)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(60, 93)))
    return file.getvalue()


def _sheet(rng: np.random.Generator) -> Floats:
    """Paper with fibres, and often ruled or squared."""
    paper = np.array(_PAPERS[rng.integers(len(_PAPERS))], float)
    grain = _smooth_noise(SHEET_PX, 2, rng) * rng.uniform(1, 5) + _smooth_noise(SHEET_PX, 24, rng) * rng.uniform(1, 8)
    sheet = paper + grain[..., None]
    kind = rng.choice(["plain", "ruled", "squared"], p=[0.6, 0.2, 0.2])
    lines = np.zeros((SHEET_PX, SHEET_PX), bool)
    pitch, start = int(rng.integers(24, 60)), int(rng.integers(24))
    if kind != "plain":
        lines[start::pitch] = True
    if kind == "squared":
        lines[:, start::pitch] = True
    faint = 1 - lines[..., None] * np.array([0.28, 0.2, 0.1]) * rng.uniform(0.4, 1.0)
    shaded: Floats = sheet * faint
    return shaded


def _strokes(drawing: Image.Image, rng: np.random.Generator) -> Floats:
    """How much ink lies where, 0 to 1."""
    side = int(SHEET_PX * rng.uniform(0.55, 0.95))
    grey = drawing.convert("L").resize((side, side), Image.Resampling.BICUBIC)
    grey = grey.filter(ImageFilter.GaussianBlur(side / 105))
    ink = np.clip((200 - np.asarray(grey, float)) / 80, 0, 1)
    canvas = np.zeros((SHEET_PX, SHEET_PX))
    top, left = rng.integers(0, SHEET_PX - side + 1, 2)
    canvas[top : top + side, left : left + side] = ink
    evenness: Floats = np.clip(1 - rng.uniform(0, 0.3) * np.abs(_smooth_noise(SHEET_PX, 6, rng)), 0, 1)
    return canvas * evenness


def _tilted(sheet: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The sheet as a camera sees it that is not straight above; the view ends inside the sheet."""
    side = SHEET_PX
    corners = np.array([(0, 0), (0, side), (side, side), (side, 0)], float)
    corners += rng.uniform(0, 0.07, corners.shape) * side * np.where(corners > 0, -1, 1)
    turn = np.deg2rad(rng.uniform(-7, 7))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = ((corners - side / 2) @ rotation.T + side / 2).clip(0, side)
    return sheet.transform((side, side), Image.Transform.QUAD, corners.ravel(), Image.Resampling.BICUBIC)


def _light(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Brightness of each place: a slope, and sometimes the edge of a soft shadow."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width) - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    across = rows * np.sin(angle) + columns * np.cos(angle)
    light = rng.uniform(0.6, 1.0) * (1 + rng.uniform(0, 0.6) * across)
    if rng.random() < 0.4:
        edge = rng.uniform(-0.3, 0.3)
        light *= 1 - rng.uniform(0.1, 0.4) / (1 + np.exp(-(across - edge) / rng.uniform(0.02, 0.1)))
    lit: Floats = light
    return lit


def _blur(rng: np.random.Generator) -> ImageFilter.GaussianBlur:
    return ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5))


def _smooth_noise(side_px: int, scale_px: int, rng: np.random.Generator) -> Floats:
    """Noise of deviation about one whose grains have this size."""
    coarse = Image.fromarray(rng.normal(0, 1, (side_px // scale_px + 2,) * 2).astype(np.float32))
    return np.asarray(coarse.resize((side_px, side_px), Image.Resampling.BICUBIC), float)
