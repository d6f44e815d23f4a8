"""The arrays of the requested formats, from one upload.

Why an array does not depend on the formats asked for beside it: a JPEG is decoded at the smallest of libjpeg's scales
(1/1 to 1/8) that is not below the array asked for, once for each different scale, and each array is scaled
from that. A prediction then sees exactly the pixels that an adaptation saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from service.imaging.drawings import PICTURE_PX, drawing, has_dark_ground, ink_of, is_two_level
from service.imaging.files import image_file
from service.imaging.rasters import Raster, flat, flat_reduced, jpeg_scale, load_raster, open_image
from service.metalearning.header import InputFormat

_REDUCING_GAP = 3
"""A large image is first averaged over boxes down to this many times its final size; Pillow's documentation calls the
result indistinguishable from scaling in one step."""

_SAMPLE_SIDE_PX = 64
_INK_SOURCE_PX = 224
"""Ink is looked for in a JPEG that was decoded no smaller than for a base model of this input side: the side of the
shipped one for photographs too, so that a file for both is decoded once."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One upload as pixels.

    Attributes:
        arrays: for each requested format, in order, uint8 (channels, side_px, side_px).
        looks_drawn: a drawing, on a screen or a photographed sheet, rather than a photograph of things. Judged only
            where there are several formats to choose from, because it costs 1 to 3 ms; else False.
        width_px, height_px: the whole image's size, upright.
    """

    arrays: tuple[NDArray[np.uint8], ...]
    looks_drawn: bool
    media_type: str
    width_px: int
    height_px: int


def decode(data: bytes, formats: Sequence[InputFormat], *, max_pixels: int) -> Decoded:
    """The input arrays that an image file gives for one or more formats.

    Args:
        data: the whole file.
        formats: at least one.
        max_pixels: width times height of the largest image that is decoded.

    Raises:
        EmptyFile: there are no bytes.
        UnsupportedImage: they are not an image of a format that is read.
        ImageTooLarge: it has more pixels than allowed.
        DamagedImage: it is truncated or damaged.
    """
    file = image_file(data)
    image = open_image(file, max_pixels=max_pixels)
    width, height = image.size
    scales = [jpeg_scale(image, _least_size(image.size, wanted)) for wanted in formats]
    finest = min(scales)
    rasters = {finest: load_raster(image, file, finest)}
    for scale in set(scales) - {finest}:
        rasters[scale] = load_raster(open_image(file, max_pixels=max_pixels), file, scale)
    if rasters[finest].orientation >= 5:
        width, height = height, width
    is_judged = len(formats) > 1
    looked_at = {scale for scale, wanted in zip(scales, formats, strict=True) if wanted.ink}
    seen = {scale: _seen(rasters[scale]) for scale in looked_at | ({finest} if is_judged else set())}
    return Decoded(
        tuple(
            _drawn_array(seen[scale], wanted) if wanted.ink else _array(rasters[scale], wanted)
            for scale, wanted in zip(scales, formats, strict=True)
        ),
        is_judged and seen[finest].looks_drawn,
        file.media_type,
        width,
        height,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A picture as a drawing.

    Attributes:
        raster: the ink on white, or the picture itself where that is two-level.
        dark_ground: whether the raster is to be inverted.
    """

    raster: Raster
    dark_ground: bool
    looks_drawn: bool


def _seen(raster: Raster) -> _Seen:
    size = (min(raster.image.width, _SAMPLE_SIDE_PX), min(raster.image.height, _SAMPLE_SIDE_PX))
    sample = flat(raster, raster.image.resize(size, Image.Resampling.NEAREST))
    if is_two_level(sample):
        return _Seen(raster, has_dark_ground(sample), looks_drawn=True)
    ink = ink_of(_scaled(raster, _content_size((raster.width, raster.height), PICTURE_PX), Image.Resampling.BOX))
    sheet = drawing(ink)
    on_white = Raster(sheet, sheet.width, sheet.height, raster.orientation)
    return _Seen(on_white, dark_ground=False, looks_drawn=ink.looks_drawn)


def _least_size(size: tuple[int, int], wanted: InputFormat) -> tuple[int, int]:
    """Width and height below which a JPEG must not be decoded for this format."""
    if wanted.ink:
        return _INK_SOURCE_PX, _INK_SOURCE_PX
    return (wanted.side_px, wanted.side_px) if wanted.fit == "stretch" else _content_size(size, wanted.side_px)


def _content_size(size: tuple[float, float], side_px: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is scaled to this, at least one pixel each."""
    width, height = (max(1, round(side * side_px / max(size))) for side in size)
    return width, height


def _drawn_array(seen: _Seen, wanted: InputFormat) -> NDArray[np.uint8]:
    return _array(seen.raster, wanted, invert=seen.dark_ground)


def _array(raster: Raster, wanted: InputFormat, *, invert: bool = False) -> NDArray[np.uint8]:
    size = _content_size((raster.width, raster.height), wanted.side_px)
    if wanted.fit == "stretch":
        size = (wanted.side_px, wanted.side_px)
    content = _scaled(raster, size, Image.Resampling[wanted.resampling.upper()])
    if raster.orientation in _TURNS:
        content = content.transpose(_TURNS[raster.orientation])
    if invert:
        content = ImageChops.invert(content)
    canvas = Image.new("L" if wanted.channels == 1 else "RGB", (wanted.side_px, wanted.side_px), "white")
    canvas.paste(
        content.convert(canvas.mode),
        ((wanted.side_px - content.width) // 2, (wanted.side_px - content.height) // 2),
    )
    pixels = np.asarray(canvas, dtype=np.uint8).reshape(wanted.side_px, wanted.side_px, wanted.channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _scaled(raster: Raster, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    box = (0.0, 0.0, raster.width, raster.height)
    if raster.is_flat:
        return raster.image.resize(size, resampling, box, reducing_gap=_REDUCING_GAP)
    across = max(1, int(raster.width / size[0] / _REDUCING_GAP))
    down = max(1, int(raster.height / size[1] / _REDUCING_GAP))
    reduced = flat_reduced(raster, (across, down))
    return reduced.resize(size, resampling, (0.0, 0.0, raster.width / across, raster.height / down))
