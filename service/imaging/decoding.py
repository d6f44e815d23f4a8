"""The arrays of the requested formats, from one upload.

Why an array does not depend on the formats asked for beside it: a JPEG is decoded at the smallest of libjpeg's scales
(1/1 to 1/8) that is not below the array asked for, once for each different scale, and each array is scaled
from that. A prediction then sees exactly the pixels that an adaptation saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging.files import image_file
from service.imaging.rasters import Raster, flat, flat_reduced, jpeg_scale, load_raster, open_image
from service.metalearning.header import InputFormat

_REDUCING_GAP = 3
"""A large image is first averaged over boxes down to this many times its final size; Pillow's documentation calls the
result indistinguishable from scaling in one step."""

_SAMPLE_SIDE_PX = 64
_BLACK, _WHITE = 48, 207
_NEAR, _FAR = 12, 100
"""What looks drawn, in grey levels. Measured: all of 800 Omniglot drawings and 300 pen strokes do, also inverted,
scaled and as JPEG. Photographs turned grey do: 0 of 675 groceries, 0.4 % of 2,000 from Tiny-ImageNet (2.4 % of
its 380 grey ones), 0.6 % of 1,000 from CIFAR-FS."""

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
        looks_drawn: no colour and nearly two-level: a drawing rather than a photograph.
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
    sizes = [_content_size(image.size, wanted) for wanted in formats]
    scales = [jpeg_scale(image, size) for size in sizes]
    rasters = {min(scales): load_raster(image, file, min(scales))}
    for scale in set(scales) - {min(scales)}:
        rasters[scale] = load_raster(open_image(file, max_pixels=max_pixels), file, scale)
    finest = rasters[min(scales)]
    if finest.orientation >= 5:
        width, height = height, width
    return Decoded(
        tuple(_array(rasters[scale], size, wanted) for scale, size, wanted in zip(scales, sizes, formats, strict=True)),
        _looks_drawn(finest),
        file.media_type,
        width,
        height,
    )


def _content_size(size: tuple[int, int], wanted: InputFormat) -> tuple[int, int]:
    """Width and height of the scaled image inside the array, at least one pixel each."""
    if wanted.fit == "stretch":
        return wanted.side_px, wanted.side_px
    longest = max(size)
    width, height = (max(1, round(side * wanted.side_px / longest)) for side in size)
    return width, height


def _array(raster: Raster, size: tuple[int, int], wanted: InputFormat) -> NDArray[np.uint8]:
    content = _scaled(raster, size, Image.Resampling[wanted.resampling.upper()])
    if raster.orientation in _TURNS:
        content = content.transpose(_TURNS[raster.orientation])
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


def _looks_drawn(raster: Raster) -> bool:
    """Whether the picture has no colour and hardly any grey between its ink and its paper.

    Judged on pixels picked from a grid: averages would turn thin lines grey.
    """
    size = (min(raster.image.width, _SAMPLE_SIDE_PX), min(raster.image.height, _SAMPLE_SIDE_PX))
    sample = flat(raster, raster.image.resize(size, Image.Resampling.NEAREST))
    if sample.mode == "RGB" and _coloured_share(sample) > 0.01:
        return False
    grey = np.asarray(sample.convert("L"))
    between = ((grey > _BLACK) & (grey < _WHITE)).mean()
    return bool(between < 0.15) and _two_level_share(grey) > 0.8


def _coloured_share(sample: Image.Image) -> float:
    """The share of pixels whose colour is more than a compressed grey's."""
    red, green, blue = (np.asarray(band) for band in sample.split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return float((spread > 40).mean())


def _two_level_share(grey: NDArray[np.uint8]) -> float:
    """The share of pixels near the most frequent level or near the most frequent one far from it."""
    levels = np.bincount(grey.ravel(), minlength=256) / grey.size
    near = np.convolve(levels, np.ones(2 * _NEAR + 1), mode="same")
    paper = int(near.argmax())
    far = np.where(np.abs(np.arange(256) - paper) >= _FAR, near, 0)
    return float(near[paper] + far.max())
