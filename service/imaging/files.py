"""What the bytes of an upload are, and the parts of them that make the picture.

Why PNG and JPEG are cut down before Pillow sees them: text, colour profiles, thumbnails, further frames and most of
EXIF do nothing to the pixels, but can be damaged, or swell to gigabytes. Without them a good picture with a bad
comment is a good picture. PNG's own checksums then also tell a truncated or damaged file for certain.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from service.errors import DamagedImage, EmptyFile, UnsupportedImage

READABLE: Final = "JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF"

_MAX_JPEG_SCANS = 200
"""A picture has at most about ten; each costs a pass over all pixels, and a scan can be a few bytes."""

_SIGNATURES: Final = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"MM\x00+", "image/tiff"),
)
_KNOWN_OTHERS: Final = (
    (4, b"ftypheic", "a HEIC photograph"),
    (4, b"ftypheix", "a HEIC photograph"),
    (4, b"ftypmif1", "a HEIC photograph"),
    (4, b"ftyp", "a video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
)


@dataclass(frozen=True, slots=True)
class ImageFileBytes:
    """An image file without what does nothing to its pixels.

    Attributes:
        orientation: the EXIF orientation, 1 to 8, where it stood in a part that was left out.
        grey_peak: the greatest sample of a PNG, 2 ** depth - 1; 255 for other files.
    """

    media_type: str
    data: bytes
    orientation: int = 1
    grey_peak: int = 255


def media_type(data: bytes) -> str:
    """The media type of an image file, told by its first bytes.

    Raises:
        EmptyFile: there are none.
        UnsupportedImage: they are not those of a format that Handful reads.
    """
    if not data:
        raise EmptyFile("the file has 0 bytes; send the image again")
    for offset, signature, name in _SIGNATURES:
        if data.startswith(signature, offset):
            return name
    if _is_avif(data):
        return "image/avif"
    raise UnsupportedImage(f"the file is {_description(data)}; send {READABLE}")


def image_file(data: bytes) -> ImageFileBytes:
    """The parts of the file that make the picture.

    Raises:
        EmptyFile, UnsupportedImage: as `media_type`.
        DamagedImage: the parts cannot be told apart, or a checksum is wrong.
    """
    kind = media_type(data)
    try:
        if kind == "image/png":
            return _png(data)
        if kind == "image/jpeg":
            return _jpeg(data)
    except (struct.error, IndexError) as error:
        raise DamagedImage(f"the {kind} file is truncated at {len(data)} bytes; send it again") from error
    return ImageFileBytes(kind, data)


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, that an EXIF block gives; 1 where it gives none or is damaged."""
    start = max(exif.find(b"II*\x00", 0, 16), exif.find(b"MM\x00*", 0, 16))
    if start < 0:
        return 1
    order = "<" if exif[start] == ord("I") else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, start + 4)
        (n_entries,) = struct.unpack_from(f"{order}H", exif, start + directory)
        for entry in range(start + directory + 2, start + directory + 2 + 12 * n_entries, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _is_avif(data: bytes) -> bool:
    """Whether one of the brands of an ISO media file, the main one or a compatible one, is AVIF's."""
    brands = {data[start : start + 4] for start in range(8, min(len(data), 64), 4)}
    return data.startswith(b"ftyp", 4) and not brands.isdisjoint({b"avif", b"avis"})


def _png(data: bytes) -> ImageFileBytes:
    kept, orientation, position, name = [data[:8]], 1, 8, b""
    while name != b"IEND":
        size_bytes, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + size_bytes
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if name in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
            if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
                raise DamagedImage(f"the image/png file is damaged at byte {position}; send it again")
            kept.append(data[position:end])
        elif name == b"eXIf":
            orientation = exif_orientation(data[position + 8 : end - 4])
        position = end
    grey_depth = data[24] if data[25] in {0, 2} else 8
    return ImageFileBytes("image/png", b"".join(kept), orientation, 2**grey_depth - 1)


def _jpeg(data: bytes) -> ImageFileBytes:
    kept, orientation, position = [data[:2]], 1, 2
    while data[position] == 0xFF and (marker := data[position + 1]) != 0xDA:
        if marker == 0xFF:
            position += 1
            continue
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker == 0xE1 and data.startswith(b"Exif\x00", position + 4):
            orientation = exif_orientation(data[position + 4 : end])
        if marker in {0xE0, 0xEE} or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[position:end])
        position = end
    if data.count(b"\xff\xda", position) > _MAX_JPEG_SCANS:
        raise DamagedImage(f"the image/jpeg file has more than {_MAX_JPEG_SCANS} scans; save it again")
    return ImageFileBytes("image/jpeg", b"".join([*kept, data[position:]]), orientation)


def _description(data: bytes) -> str:
    for offset, signature, description in _KNOWN_OTHERS:
        if data.startswith(signature, offset):
            return description
    beginning = data[:1000].lower()
    if b"<svg" in beginning:
        return "an SVG drawing"
    if b"<html" in beginning or b"<!doctype html" in beginning:
        return "an HTML page"
    return "not an image that Handful knows"
