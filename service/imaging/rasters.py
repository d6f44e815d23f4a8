"""The decoded picture, and its pixels as opaque 8-bit grey or RGB.

Pillow decodes, through its own class for each format and no other: its search through all formats is left out, and with
it readers of formats that Handful does not promise.
"""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import DamagedImage, ImageTooLarge, UnsupportedImage
from service.imaging.files import READABLE, ImageFileBytes, exif_orientation

_MAX_SIDE_PX = 100_000
"""Pillow keeps a pointer for each row, so a column of 100 million pixels would cost a gigabyte of them."""

_STRIP_PX = 2**20
"""Pixels that are converted at a time, so that a large image never stands in memory twice."""

_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
    "image/avif": AvifImageFile,
    "image/bmp": BmpImageFile,
    "image/gif": GifImageFile,
    "image/tiff": TiffImageFile,
}
_UNREADABLE = ("unsupported", "not supported", "unknown pixel mode", "not available", "cannot handle")
_DEEP_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_WHITE = 255
_PILLOW_MODULES = r"PIL\."
_PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's readers were seen to raise on damaged files."""


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """A decoded picture as its file stores it.

    Attributes:
        width, height: its size in its own pixels; not whole where a JPEG was decoded at a smaller scale.
        orientation: the EXIF orientation that is still to be applied.
        low, high: the values of the darkest and the lightest grey of a picture with more than 8 bits.
    """

    image: Image.Image
    width: float
    height: float
    orientation: int
    low: float = 0
    high: float = 255

    @property
    def is_flat(self) -> bool:
        """Whether the pixels are opaque 8-bit grey or RGB as they are."""
        return self.image.mode in {"L", "RGB"} and not self.image.has_transparency_data


def open_image(file: ImageFileBytes, *, max_pixels: int) -> ImageFile.ImageFile:
    """The image with its size and mode; no pixel is decoded yet.

    Raises:
        ImageTooLarge: it has more pixels than `max_pixels`, or a side above 100,000.
        UnsupportedImage, DamagedImage: it cannot be opened.
    """
    with _as_image_errors(file.media_type):
        image = _OPENERS[file.media_type](io.BytesIO(file.data))
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels, at most {max_pixels} are allowed; make it smaller"
        )
    if max(width, height) > _MAX_SIDE_PX:
        raise ImageTooLarge(f"the image has a side of {max(width, height)} pixels, at most {_MAX_SIDE_PX} are allowed")
    return image


def jpeg_scale(image: ImageFile.ImageFile, size: tuple[int, int]) -> int:
    """How many times smaller each side can be decoded and still have `size`: 8, 4, 2 or 1; always 1 for other files."""
    if not isinstance(image, JpegImageFile):
        return 1
    spare = min(image.width // size[0], image.height // size[1])
    return next((scale for scale in (8, 4, 2) if scale <= spare), 1)


def load_raster(image: ImageFile.ImageFile, file: ImageFileBytes, scale: int) -> Raster:
    """The picture of an image just opened, decoded at 1/scale of its size.

    Raises:
        DamagedImage: the file is truncated or damaged.
        UnsupportedImage: it stores its pixels in a way that cannot be read.
    """
    width, height = image.size
    with _as_image_errors(file.media_type):
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        image.load()
        orientation = max(file.orientation, exif_orientation(image.info.get("exif", b"")))
        if isinstance(image, TiffImageFile):
            orientation = 1  # Pillow has applied it
        low, high = _range(image, file.grey_peak)
        plain = _without_inversion(image, file.grey_peak)
    return Raster(plain, width / scale, height / scale, orientation, low, high)


def flat_reduced(raster: Raster, factors: tuple[int, int]) -> Image.Image:
    """The pixels as opaque 8-bit grey or RGB, each the mean of a box of `factors` (across, down) of the picture."""
    across, down = factors
    width, height = raster.image.size
    rows = max(1, _STRIP_PX // (width * down)) * down
    whole: Image.Image | None = None
    for top in range(0, height, rows):
        piece = flat(raster, raster.image.crop((0, top, width, min(top + rows, height)))).reduce(factors)
        if whole is None:
            whole = Image.new(piece.mode, (-(-width // across), -(-height // down)))
        whole.paste(piece, (0, top // down))
    assert whole is not None
    return whole


def flat(raster: Raster, piece: Image.Image) -> Image.Image:
    """A piece of the raster's image as opaque 8-bit grey or RGB."""
    if piece.mode in _DEEP_MODES:
        return _scaled_grey(raster, piece)
    if piece.has_transparency_data:
        premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(piece.mode)
        translucent = (piece.convert(premultiplied) if premultiplied else piece).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", piece.size, "white"), translucent).convert("RGB")
    if piece.mode in {"1", "L"}:
        return piece.convert("L")
    return piece.convert("RGB")


def _scaled_grey(raster: Raster, piece: Image.Image) -> Image.Image:
    values = _numbers(piece)
    span = (raster.high - raster.low) or 1.0
    with np.errstate(invalid="ignore"):
        grey = np.clip((values - raster.low) * (255 / span), 0, 255).round()
    grey[np.isnan(values)] = _WHITE
    transparent = piece.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = _WHITE
    return Image.fromarray(grey.astype(np.uint8))


def _range(image: Image.Image, grey_peak: int) -> tuple[float, float]:
    """The values of the darkest and the lightest grey."""
    if image.mode.startswith("I;16"):
        peak = float(grey_peak if grey_peak > 255 else 2 ** _bits(image) - 1)
        return (peak, 0.0) if _white_is_zero(image) else (0.0, peak)
    if image.mode not in {"I", "F"}:
        return 0.0, 255.0
    least, greatest = _extremes(image)
    usual = (1.0,) if image.mode == "F" else (255.0, 65535.0)
    for peak in usual:
        if least >= 0 and greatest <= peak:
            least, greatest = 0.0, peak
            break
    return (greatest, least) if _white_is_zero(image) else (least, greatest)


def _extremes(image: Image.Image) -> tuple[float, float]:
    rows = max(1, _STRIP_PX // image.width)
    least, greatest = np.inf, -np.inf
    for top in range(0, image.height, rows):
        values = _numbers(image.crop((0, top, image.width, min(top + rows, image.height))))
        finite = values[np.isfinite(values)]
        if finite.size:
            least, greatest = min(least, float(finite.min())), max(greatest, float(finite.max()))
    return (least, greatest) if least <= greatest else (0.0, 1.0)


def _numbers(piece: Image.Image) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return np.asarray(piece).astype(np.float64)


def _bits(image: Image.Image) -> int:
    return int(image.tag_v2.get(258, (16,))[0]) if isinstance(image, TiffImageFile) else 16


def _white_is_zero(image: Image.Image) -> bool:
    return isinstance(image, TiffImageFile) and image.tag_v2.get(262) == 0


def _without_inversion(image: ImageFile.ImageFile, grey_peak: int) -> Image.Image:
    """Undo what Pillow takes for granted.

    A CMYK JPEG is inverted if Adobe's marker says so; Pillow inverts each. A transparent colour of a PNG is
    given in its own bit depth; Pillow compares it with 8-bit samples.
    """
    if image.mode == "CMYK" and isinstance(image, JpegImageFile) and "adobe" not in image.info:
        return ImageChops.invert(image)
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value * 255 // grey_peak for value in transparent)
    if image.mode == "L" and isinstance(transparent, int):
        image.info["transparency"] = transparent * 255 // grey_peak
    return image


@contextlib.contextmanager
def _as_image_errors(kind: str) -> Iterator[None]:
    _ignore_pillow_warnings()
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the {kind} file unpacks to too many pixels; make it smaller") from error
    except _PILLOW_ERRORS as error:
        if any(words in str(error).lower() for words in _UNREADABLE):
            raise UnsupportedImage(
                f"the {kind} file stores its pixels in a rare way ({error}); save it as a usual {READABLE}"
            ) from error
        raise DamagedImage(f"the {kind} file is truncated or damaged ({error}); send it again") from error


def _ignore_pillow_warnings() -> None:
    """Keep Pillow's remarks about odd metadata and large images quiet; its errors are what counts.

    A filter is added once and stays. `warnings.catch_warnings` would not be safe between threads.
    """
    if not any(getattr(module, "pattern", "") == _PILLOW_MODULES for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)
