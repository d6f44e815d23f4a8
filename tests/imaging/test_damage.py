"""What is refused and how, and what is damaged without harm."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import DamagedImage, EmptyFile, ImageError, ImageTooLarge, UnsupportedImage
from service.imaging import decode, media_type
from service.metalearning.header import InputFormat
from tests.image_factories import (
    MAX_PIXELS,
    encoded,
    noise,
    pixels_of,
    png,
    quarters,
    with_jpeg_segment,
    with_png_chunk,
)

WANTED = [InputFormat(32, 3)]
SIDES = (16_000, 16_000)

KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg": ("JPEG", "RGB", {}),
    "progressive jpeg": ("JPEG", "RGB", {"progressive": True}),
    "grey jpeg": ("JPEG", "L", {}),
    "cmyk jpeg": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGB", {}),
    "palette png": ("PNG", "P", {}),
    "webp": ("WEBP", "RGB", {}),
    "lossless webp": ("WEBP", "RGBA", {"lossless": True}),
    "avif": ("AVIF", "RGB", {}),
    "bmp": ("BMP", "RGB", {}),
    "grey bmp": ("BMP", "L", {}),
    "gif": ("GIF", "P", {}),
    "tiff": ("TIFF", "RGB", {}),
    "lzw tiff": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "deflate tiff": ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "jpeg tiff": ("TIFF", "RGB", {"compression": "jpeg"}),
    "16-bit tiff": ("TIFF", "I;16", {}),
    "fax tiff": ("TIFF", "1", {"compression": "group4"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    data = _file(kind)
    with pytest.raises(DamagedImage, match="send it again"):
        decode(data[: int(len(data) * share)], WANTED, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost_bytes", [5, 12, 20])
def test_a_file_without_its_last_bytes_is_refused(kind: str, lost_bytes: int) -> None:
    with pytest.raises(DamagedImage):
        decode(_file(kind)[:-lost_bytes], WANTED, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_after_its_first_bytes_is_refused(kind: str) -> None:
    with pytest.raises(DamagedImage):
        decode(_file(kind)[:16], WANTED, max_pixels=MAX_PIXELS)


def test_a_png_with_one_wrong_bit_is_refused() -> None:
    data = bytearray(_file("png"))
    data[len(data) // 2] ^= 1
    with pytest.raises(DamagedImage, match="damaged at byte"):
        decode(bytes(data), WANTED, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_raises_nothing_but_image_errors(kind: str) -> None:
    whole, dice = _file(kind), np.random.default_rng(0)
    outcomes = [_outcome(_scribbled(whole, dice)) for _ in range(40)]
    assert set(outcomes) <= {"decoded", "DamagedImage", "UnsupportedImage", "ImageTooLarge"}


def test_no_bytes_are_an_empty_file() -> None:
    with pytest.raises(EmptyFile, match="0 bytes"):
        decode(b"", WANTED, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"8BPS\x00\x01" + bytes(40), "a Photoshop document"),
        (b"PK\x03\x04" + bytes(40), "a zip archive"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "a HEIC photograph"),
        (b"\x00\x00\x00\x18ftypmif1\0\0\0\0mif1heic" + bytes(40), "a HEIC photograph"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(40), "a video"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), "a JPEG 2000 image"),
        (b"label,filename\n", "not an image"),
        (b"\x00", "not an image"),
    ],
)
def test_what_is_no_readable_image_is_named(data: bytes, description: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"the file is {description}.*; send JPEG, PNG"):
        decode(data, WANTED, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "EPS", "JPEG2000"])
def test_other_formats_that_pillow_reads_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedImage):
        media_type(encoded(noise(64, 64), kind))


def test_a_tiff_of_a_rare_kind_is_unsupported_and_not_damaged() -> None:
    data = encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF", tiffinfo={262: 5})
    with pytest.raises(UnsupportedImage, match="rare way"):
        decode(data, WANTED, max_pixels=MAX_PIXELS)


def test_an_image_above_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    data = encoded(Image.new("L", (40, 30)), "PNG")
    assert decode(data, WANTED, max_pixels=1200).width_px == 40
    with pytest.raises(ImageTooLarge, match="40 x 30 pixels, at most 1199"):
        decode(data, WANTED, max_pixels=1199)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif", "tiff", "webp"])
def test_a_small_file_of_huge_dimensions_is_refused(kind: str) -> None:
    with pytest.raises(ImageTooLarge, match="make it smaller"):
        decode(_bomb(kind), WANTED, max_pixels=100_000_000)


def test_a_bomb_costs_no_memory() -> None:
    program = """
import resource, sys
from service.errors import ImageTooLarge
from service.imaging import decode
from service.metalearning.header import InputFormat
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(data, [InputFormat(28, 1)], max_pixels=100_000_000)
except ImageTooLarge:
    sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 20_000)
sys.exit(2)
"""
    bomb = png((60_000, 60_000), 1, 0, bytes(30_000_000))
    assert len(bomb) < 100_000
    assert subprocess.run([sys.executable, "-c", program], input=bomb, check=False).returncode == 0


def test_a_column_of_too_many_rows_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="a side of 200000 pixels"):
        decode(png((1, 200_000), 8, 0, bytes(400_000)), WANTED, max_pixels=MAX_PIXELS)


def test_an_image_that_only_pillow_finds_large_is_decoded_without_a_word() -> None:
    data = png((9_600, 10_000), 1, 0, bytes(1201 * 10_000))
    array = decode(data, [InputFormat(10, 1, "stretch")], max_pixels=100_000_000).arrays[0]
    assert (array == 0).all()


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_bomb_in_the_text_or_profile_of_a_png_is_passed_over(name: bytes) -> None:
    swollen = zlib.compress(bytes(300_000_000), 1)
    beginning = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[name]
    data = with_png_chunk(encoded(Image.fromarray(quarters(4, 4)), "PNG"), name, beginning + swollen)
    np.testing.assert_array_equal(pixels_of(data, 4), quarters(4, 4))


@pytest.mark.parametrize(
    "exif",
    [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + bytes(8), b"\x80" * 900],
)
def test_damaged_exif_does_not_harm_a_good_image(exif: bytes) -> None:
    picture = Image.fromarray(quarters())
    jpeg = with_jpeg_segment(encoded(picture, "JPEG"), 0xE1, b"Exif\0\0" + exif)
    webp = encoded(picture, "WEBP", exif=b"Exif\0\0" + exif)
    upright_png = with_png_chunk(encoded(picture, "PNG"), b"eXIf", exif)
    sizes = {decode(data, WANTED, max_pixels=MAX_PIXELS).width_px for data in (jpeg, webp, upright_png)}
    assert sizes == {64}


def test_an_avif_that_names_its_kind_second_is_told() -> None:
    data = encoded(Image.fromarray(quarters()), "AVIF").replace(b"ftypavif", b"ftypmif1", 1)
    assert decode(data, WANTED, max_pixels=MAX_PIXELS).media_type == "image/avif"


def test_an_orientation_out_of_range_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    data = encoded(Image.fromarray(quarters()), "PNG", exif=exif)
    assert decode(data, WANTED, max_pixels=MAX_PIXELS).width_px == 64


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = encoded(noise(64, 64), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(DamagedImage, match="scans"):
        decode(data[:-2] + last_scan * 300 + b"\xff\xd9", WANTED, max_pixels=MAX_PIXELS)


def test_a_jpeg_with_other_pictures_behind_it_gives_the_first() -> None:
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert np.abs(pixels_of(data, 1).ravel().astype(int) - [250, 0, 0]).max() < 4


def _file(kind: str) -> bytes:
    name, mode, options = KINDS[kind]
    picture = noise(70, 50)
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return encoded(deep if mode == "I;16" else picture.convert(mode), name, **options)


def _scribbled(whole: bytes, dice: np.random.Generator) -> bytes:
    scribbled = np.frombuffer(whole, np.uint8).copy()
    places = dice.integers(12, min(len(whole), dice.choice([60, 400, 10_000])), dice.choice([1, 3, 10]))
    scribbled[places] = dice.integers(0, 256, len(places))
    return scribbled.tobytes()


def _outcome(data: bytes) -> str:
    try:
        decode(data, WANTED, max_pixels=MAX_PIXELS)
    except ImageError as error:
        return type(error).__name__
    return "decoded"


def _bomb(kind: str) -> bytes:
    """A small file that says it is 16,000 pixels wide and high."""
    picture, big, little = Image.new("RGBA", (8, 8)), struct.pack(">HH", *SIDES), struct.pack("<HH", *SIDES)
    canvas = (SIDES[0] - 1).to_bytes(3, "little") * 2
    jpeg, webp = encoded(picture.convert("RGB"), "JPEG"), encoded(picture, "WEBP", exif=b"Exif\0\0")
    return {
        "png": png(SIDES, 8, 2, b""),
        "jpeg": _overwritten(jpeg, jpeg.index(b"\xff\xc0") + 5, big),
        "bmp": _overwritten(encoded(picture, "BMP"), 18, struct.pack("<ii", *SIDES)),
        "gif": _overwritten(encoded(picture, "GIF"), 6, little),
        "tiff": encoded(picture, "TIFF", tiffinfo={256: SIDES[0], 257: SIDES[1]}),
        "webp": _overwritten(webp, webp.index(b"VP8X") + 12, canvas),
    }[kind]


def _overwritten(data: bytes, start: int, content: bytes) -> bytes:
    return data[:start] + content + data[start + len(content) :]
