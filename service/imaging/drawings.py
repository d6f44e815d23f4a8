"""Drawings told from photographs, and their ink taken off whatever it was drawn on.

A file from a drawing program is two-level: ink, paper, and little between. Those pixels are used as they are, turned
round where the ground is dark. A pen drawing that was photographed has a coloured ground of uneven light instead.

How ink is found on it: the ground at a place is the median of its surroundings, of which strokes cover less than
half. A mark is what differs from the ground, in the channel where it does most, towards black or towards white,
whichever has the stronger marks. Otsu's threshold (1979) splits marks from what is left of the paper; between the
middles of both sides the ink is a ramp, so that strokes keep soft edges. The drawing is then cut out with the margin
that Omniglot's drawings have, because it may be small in its photograph.

Every step depends on the one image alone.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PICTURE_PX: Final = 112
"""Longest side of the picture in which ink is looked for: four times the input of the base model for drawings."""

_BLACK, _WHITE = 48, 207
_NEAR, _FAR = 12, 100
"""What is two-level, in grey levels. Measured: all of 800 Omniglot drawings and 300 pen strokes are, also inverted,
scaled and as JPEG. Photographs turned grey are: 0 of 675 groceries, 0.4 % of 2,000 from Tiny-ImageNet (2.4 % of
its 380 grey ones), 0.6 % of 1,000 from CIFAR-FS."""

_CELL_PX = 14
_WINDOW = np.arange(-16, 17, 2)
_CONTRAST, _UNCLEAN = 0.15, 0.04
_THICK, _STROKE_PX = 0.1, 9
_STEP = 0.5
"""What is a pen drawing: ink well apart from its paper, little of it thick, on a ground without the steps that the
surface of a large thing makes. Set between drawings of Omniglot's training characters on made sheets (noise x between:
99 % under 0.025; thick: 99 % under 0.05; step: 99 % under 0.33) and photographs to train on (noise x between: 99 % over
0.04). 400 of 400 drawings in pen and chalk look drawn, and 0.4 % of 250 photographs from Tiny-ImageNet, 1.3 % of 150
from CIFAR-FS, in grey 0.8 and 1.3 %. A task goes by most of its images."""

_DRAWING_SHARE = 0.7
"""How much of the cut-out's side the drawing takes. Omniglot's longer sides are 0.50 to 0.79 of the image (0.66 in the
middle); 0.65 and 0.75 gave the same accuracy."""

_SPECK_PX = 4
_LEVELS = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Ink:
    """The ink of a picture.

    Attributes:
        amount: 0 to 1 at each pixel.
        step: the largest difference of the ground between neighbouring places, of at most 1.
        contrast: the distance between paper and ink, of at most 1.
        noise: deviation of the paper, in units of the distance between paper and ink.
        between: pixels that are neither paper nor ink, in units of those that are ink.
    """

    amount: Floats
    step: float
    contrast: float
    noise: float
    between: float

    @property
    def looks_drawn(self) -> bool:
        """Whether it is strokes on paper."""
        is_clean = self.contrast > _CONTRAST and self.noise * self.between < _UNCLEAN
        return is_clean and self.step < _STEP and _thick_share(self.amount > 0.5) < _THICK


def is_two_level(sample: Image.Image) -> bool:
    """Whether a picture, L or RGB, has no colour and hardly any grey between its ink and its paper.

    To be asked of pixels picked from a grid: averages would turn thin lines grey.
    """
    if sample.mode == "RGB" and _coloured_share(sample) > 0.01:
        return False
    grey = np.asarray(sample.convert("L"))
    between = ((grey > _BLACK) & (grey < _WHITE)).mean()
    return bool(between < 0.15) and _two_level_share(grey) > 0.8


def has_dark_ground(sample: Image.Image) -> bool:
    """Whether a two-level picture is light on dark."""
    return bool(np.median(np.asarray(sample.convert("L"))) < _LEVELS / 2)


def ink_of(picture: Image.Image) -> Ink:
    """The ink of a picture, L or RGB, whose longer side is about PICTURE_PX."""
    pixels = np.atleast_3d(np.asarray(picture, np.float32))
    medians = _medians(pixels)
    ground = _enlarged(medians, picture.size)
    difference = (ground - pixels) / np.maximum(ground, 255 - ground)
    darker, lighter = difference.max(-1), (-difference).max(-1)
    marks = max((darker, lighter), key=_strongest).clip(0, 1)
    threshold, paper, ink = _otsu(marks)
    low, high = (paper + threshold) / 2, (threshold + ink) / 2
    amount = ((marks - low) / max(high - low, 1e-3)).clip(0, 1)
    rest = marks[marks <= threshold]
    n_between, n_ink = ((marks > low) & (marks < high)).sum(), (marks > threshold).sum()
    contrast, step = ink - paper, max(float(np.abs(np.diff(medians, axis=axis)).max(initial=0)) for axis in (0, 1))
    return Ink(amount, step / 255, contrast, float(rest.std()) / max(contrast, 1e-3), float(n_between / max(n_ink, 1)))


def drawing(ink: Ink) -> Image.Image:
    """The ink as a square picture, black on white, the drawing in its middle; white where there is none."""
    top, bottom, left, right = _box(ink.amount)
    side = max(round(max(bottom - top, right - left) / _DRAWING_SHARE), _SPECK_PX)
    cut = ink.amount[top:bottom, left:right]
    sheet = Image.new("L", (side, side), "white")
    black = Image.fromarray((255 * (1 - cut)).round().astype(np.uint8))
    sheet.paste(black, ((side - black.width) // 2, (side - black.height) // 2))
    return sheet


def _medians(pixels: Floats) -> Floats:
    """The ground at the points of a grid, (n_down, n_across, channels)."""
    height, width, _ = pixels.shape
    rows, columns = (_window_places(side) for side in (height, width))
    windows = pixels[rows[:, None, :, None], columns[None, :, None, :]]  # (n_down, n_across, window, window, channels)
    windows = windows.reshape(len(rows), len(columns), -1, pixels.shape[2])
    middle = windows.shape[2] // 2
    medians: Floats = np.partition(windows, middle, axis=2)[:, :, middle]
    return medians


def _enlarged(grid: Floats, size: tuple[int, int]) -> Floats:
    """The picture without its marks: smooth between the points of the grid."""
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(grid, 2, 0)]
    return np.stack([np.asarray(band.resize(size, Image.Resampling.BICUBIC)) for band in bands], axis=-1)


def _window_places(side: int) -> NDArray[np.intp]:
    """For each point of the grid along a side the places of its window, the picture mirrored at its edges."""
    n_points = max(1, round(side / _CELL_PX))
    middles = ((np.arange(n_points) + 0.5) * side / n_points).astype(np.intp)
    places = np.abs(middles[:, None] + _WINDOW)
    mirrored: NDArray[np.intp] = np.minimum(places, 2 * (side - 1) - places).clip(0, side - 1)
    return mirrored


def _strongest(marks: Floats) -> float:
    """Mean of the strongest hundredth."""
    n = max(1, marks.size // 100)
    return float(np.partition(marks.ravel(), -n)[-n:].mean())


def _otsu(marks: Floats) -> tuple[float, float, float]:
    """The threshold with the largest variance between its two sides, and their means."""
    levels = np.bincount((marks * (_LEVELS - 1)).astype(np.intp).ravel(), minlength=_LEVELS) / marks.size
    values = (np.arange(_LEVELS) + 0.5) / _LEVELS
    below, moment = np.cumsum(levels), np.cumsum(levels * values)
    both = below * (1 - below)
    variance = np.divide((moment[-1] * below - moment) ** 2, both, out=np.zeros(_LEVELS), where=both > 1e-9)
    best = int(variance.argmax())
    paper = moment[best] / max(below[best], 1e-9)
    ink = (moment[-1] - moment[best]) / max(1 - below[best], 1e-9)
    return (best + 1) / _LEVELS, float(paper), float(ink)


def _thick_share(is_ink: NDArray[np.bool_]) -> float:
    """The share of the ink that a square of _STROKE_PX fits around."""
    core = is_ink
    for axis in (0, 1):
        if core.shape[axis] < _STROKE_PX:
            return 0.0
        core = np.logical_and.reduce(np.lib.stride_tricks.sliding_window_view(core, _STROKE_PX, axis), axis=-1)
    return float(core.sum() / max(is_ink.sum(), 1))


def _box(amount: Floats) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the ink, specks left out; of everything where there is none."""
    height, width = amount.shape
    is_ink = amount > 0.5
    rows, columns = (np.flatnonzero(is_ink.sum(axis) >= 2) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return 0, height, 0, width
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _coloured_share(sample: Image.Image) -> float:
    """The share of pixels whose colour is more than a compressed grey's."""
    red, green, blue = (np.asarray(band) for band in sample.split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return float((spread > 40).mean())


def _two_level_share(grey: NDArray[np.uint8]) -> float:
    """The share of pixels near the most frequent level or near the most frequent one far from it."""
    levels = np.bincount(grey.ravel(), minlength=_LEVELS) / grey.size
    near = np.convolve(levels, np.ones(2 * _NEAR + 1), mode="same")
    paper = int(near.argmax())
    far = np.where(np.abs(np.arange(_LEVELS) - paper) >= _FAR, near, 0)
    return float(near[paper] + far.max())
