"""Image files of every kind, made small, for tests."""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging import decode
from service.metalearning.header import InputFormat

MAX_PIXELS = 1_000_000

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 0)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of a format by its Pillow name."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quarters(width: int = 64, height: int = 32) -> NDArray[np.uint8]:
    """A picture of four coloured quarters, no two alike: red and green above blue and yellow."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = YELLOW
    return pixels


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture that does not compress: a smooth colour field under noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    field = np.stack([rows * 200 / height, columns * 200 / width, (rows + columns) * 100 / (height + width)], -1)
    grain = np.random.default_rng(seed).integers(0, 55, field.shape)
    return Image.fromarray((field + grain).astype(np.uint8))


def pixels_of(data: bytes, side_px: int = 4, channels: int = 3) -> NDArray[np.uint8]:
    """The decoded picture as (side, side) or (side, side, 3), one array pixel a picture pixel if that is square."""
    wanted = InputFormat(side_px, channels, "stretch", "box")
    array = decode(data, [wanted], max_pixels=MAX_PIXELS).arrays[0]
    return array[0] if channels == 1 else array.transpose(1, 2, 0)


def png_chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(size: tuple[int, int], depth: int, colour_type: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG file written by hand; every row of `rows` begins with its filter byte."""
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in chunks)


def with_png_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG file with one more chunk after its header."""
    return data[:33] + png_chunk(name, content) + data[33:]


def with_jpeg_segment(data: bytes, marker: int, content: bytes) -> bytes:
    """The JPEG file with one more segment at its beginning."""
    return data[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content + data[2:]


def without_adobe_marker(data: bytes) -> bytes:
    """The JPEG file without the segment that tells how its colours are meant."""
    start = data.index(b"\xff\xee\x00\x0eAdobe")
    return data[:start] + data[start + 16 :]


def omniglot_like(size_px: int = 105) -> Image.Image:
    """A drawing in the manner of Omniglot: 1 bit, thin dark strokes on white."""
    pixels = np.ones((105, 105), bool)
    pixels[20:85, 50:53] = False
    pixels[50:53, 20:85] = False
    pixels[range(20, 60), range(20, 60)] = False
    return Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.NEAREST)


def saved_zip(folder: Path) -> Path:
    """A zip as the page saves it, with a label that no folder can have, a group, and a class that is left out."""
    told = {
        "classes": [
            {"folder": "dark_grey", "label": "dark/grey"},
            {"folder": "odd", "label": "odd", "is_left_out": True},
        ],
        "groups": {"dark_grey/1.png": "burst"},
    }
    with zipfile.ZipFile(folder / "saved.zip", "w") as archive:
        for name, grey in {"dark_grey/1.png": 0, "light/1.png": 255, "odd/1.png": 40}.items():
            archive.writestr(name, encoded(Image.new("L", (16, 16), grey), "PNG"))
        archive.writestr("handful.json", json.dumps(told))
    return folder / "saved.zip"
