"""What a stored pixel becomes: colour spaces, bit depths, palettes and transparency."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.image_factories import encoded, pixels_of, png, quarters, without_adobe_marker

WHITE = [255, 255, 255]


def test_an_adobe_cmyk_jpeg_shows_its_colour() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert b"Adobe" in data
    assert np.abs(pixels_of(data, 1).ravel().astype(int) - [255, 0, 0]).max() < 3


def test_a_cmyk_jpeg_without_adobe_marker_is_not_inverted() -> None:
    stored_as_it_is = Image.new("CMYK", (16, 16), (255, 0, 0, 255))
    data = without_adobe_marker(encoded(stored_as_it_is, "JPEG"))
    assert np.abs(pixels_of(data, 1).ravel().astype(int) - [255, 0, 0]).max() < 3


def test_a_ycck_jpeg_shows_its_colour() -> None:
    # red is CMY (0, 255, 255), inverted (255, 0, 0): as YCbCr of its own inverse (0, 255, 255) that is (179, 171, 1);
    # Pillow inverts once more when it writes
    planes = Image.new("CMYK", (16, 16), (255 - 179, 255 - 171, 255 - 1, 0))
    data = bytearray(encoded(planes, "JPEG", quality=100))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    assert np.abs(pixels_of(bytes(data), 1).ravel().astype(int) - [255, 0, 0]).max() < 4


@pytest.mark.parametrize(("mode", "tolerance"), [("CMYK", 0), ("YCbCr", 2), ("LAB", 24)])
def test_other_colour_spaces_of_tiff_become_rgb(mode: str, tolerance: int) -> None:
    picture = Image.fromarray(quarters(8, 8))
    stored = picture.convert(mode)
    pixels = pixels_of(encoded(stored, "TIFF"), 8).astype(int)
    assert np.abs(pixels - quarters(8, 8)).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    levels = np.arange(64).reshape(8, 8) * 4
    data = encoded(Image.fromarray((levels * 257).astype(np.uint16)), kind)
    np.testing.assert_array_equal(pixels_of(data, 8, channels=1), levels)


def test_big_endian_16_bit_tiff_is_scaled() -> None:
    levels = np.arange(64).reshape(8, 8) * 4
    big_endian = Image.frombytes("I;16B", (8, 8), (levels * 257).astype(">u2").tobytes())
    data = encoded(big_endian, "TIFF")
    assert data.startswith(b"MM")
    np.testing.assert_array_equal(pixels_of(data, 8, channels=1), levels)


def test_16_bit_tiff_with_white_at_zero_is_scaled_the_other_way() -> None:
    levels = np.arange(64).reshape(8, 8) * 4
    data = encoded(Image.fromarray((levels * 257).astype(np.uint16)), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(pixels_of(data, 8, channels=1), 255 - levels)


def test_16_bit_colour_is_scaled() -> None:
    data = png((1, 1), 16, 2, b"\0" + struct.pack(">HHH", 65535, 257 * 100, 0))
    assert pixels_of(data, 1).ravel().tolist() == [255, 100, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 200, 255], [0, 100, 200, 255]),
        ([0, 257 * 100, 257 * 200, 65535], [0, 100, 200, 255]),
        ([-1000, 0, 1000, 1_000_000], [0, 0, 1, 255]),
        ([-300, -200, -100, 0], [0, 85, 170, 255]),
        ([70_000, 70_000, 70_000, 70_000], [0, 0, 0, 0]),
    ],
)
def test_32_bit_integers_are_scaled_to_their_range(values: list[int], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array(values, np.int32).reshape(2, 2)), "TIFF")
    assert pixels_of(data, 2, channels=1).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.2, 0.4, 0.6], [0, 51, 102, 153]),
        ([-2.0, -1.0, 0.0, 1.0], [0, 85, 170, 255]),
        ([0.0, 100.0, 200.0, 300.0], [0, 85, 170, 255]),
        ([np.nan, 0.0, 0.2, 1.0], [255, 0, 51, 255]),
        ([np.inf, -np.inf, 10.0, 20.0], [255, 0, 0, 255]),
        ([np.nan, np.nan, np.nan, np.nan], [255, 255, 255, 255]),
        ([7.0, 7.0, 7.0, 7.0], [0, 0, 0, 0]),
    ],
)
def test_floats_are_scaled_and_what_is_no_number_is_white(values: list[float], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array(values, np.float32).reshape(2, 2)), "TIFF")
    assert pixels_of(data, 2, channels=1).ravel().tolist() == expected


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_becomes_black_and_white(kind: str) -> None:
    data = encoded(Image.fromarray(np.array([[True, False], [False, True]])), kind)
    assert pixels_of(data, 2, channels=1).tolist() == [[255, 0], [0, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_a_palette_is_looked_up(kind: str) -> None:
    data = encoded(Image.fromarray(quarters(4, 4)).quantize(4), kind)
    np.testing.assert_array_equal(pixels_of(data, 4), quarters(4, 4))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind: str) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    data = encoded(picture, kind, transparency=1)
    assert pixels_of(data, 2)[0].tolist() == [[10, 20, 30], WHITE]


def test_a_half_transparent_palette_entry_is_mixed_with_white() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    data = encoded(picture, "PNG", transparency=bytes([128, 255]))
    assert pixels_of(data, 2)[0].tolist() == [[127, 127, 127], [40, 50, 60]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_put_on_white(kind: str) -> None:
    picture = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    picture.putpixel((1, 0), (10, 20, 30, 255))
    picture.putpixel((0, 1), (0, 0, 0, 51))
    data = encoded(picture, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert pixels_of(data, 2).tolist() == [[WHITE, [10, 20, 30]], [[204, 204, 204], WHITE]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_transparency_is_put_on_white(kind: str) -> None:
    picture = Image.new("LA", (2, 1), (0, 0))
    picture.putpixel((1, 0), (90, 255))
    assert pixels_of(encoded(picture, kind), 2, channels=1)[0].tolist() == [255, 90]


def test_a_palette_with_transparency_is_put_on_white() -> None:
    picture = Image.new("PA", (2, 1), (0, 0))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), (1, 255))
    assert pixels_of(encoded(picture, "TIFF"), 2)[0].tolist() == [WHITE, [40, 50, 60]]


def test_a_hidden_colour_does_not_bleed_into_a_reduced_image() -> None:
    pixels = np.zeros((400, 400, 4), np.uint8)
    pixels[:, ::2] = (0, 0, 0, 0)
    pixels[:, 1::2] = (255, 255, 255, 255)
    assert (pixels_of(encoded(Image.fromarray(pixels), "PNG"), 4) == 255).all()


@pytest.mark.parametrize(
    ("depth", "rows", "transparent", "expected"),
    [
        (1, b"\0\x40", 1, [0, 255]),
        (2, b"\0\x60", 2, [85, 255]),
        (4, b"\0\x3a", 10, [51, 255]),
        (8, b"\0\x20\x30", 0x30, [0x20, 255]),
        (16, b"\0\x20\x20\x30\x30", 0x3030, [0x20, 255]),
        (16, b"\0\x30\x31\x30\x30", 0x3030, [0x30, 255]),
    ],
)
def test_a_transparent_grey_of_any_depth_is_white(
    depth: int, rows: bytes, transparent: int, expected: list[int]
) -> None:
    data = png((2, 1), depth, 0, rows, (b"tRNS", struct.pack(">H", transparent)))
    assert pixels_of(data, 2, channels=1)[0].tolist() == expected


@pytest.mark.parametrize(
    ("depth", "rows", "transparent"),
    [(8, b"\0\x01\x02\x03\x07\x08\x09", (7, 8, 9)), (16, b"\0\1\1\2\2\3\3\7\7\x08\x08\x09\x09", (0x707, 0x808, 0x909))],
)
def test_a_transparent_colour_is_white(depth: int, rows: bytes, transparent: tuple[int, int, int]) -> None:
    data = png((2, 1), depth, 2, rows, (b"tRNS", struct.pack(">HHH", *transparent)))
    assert pixels_of(data, 2)[0].tolist() == [[1, 2, 3], WHITE]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))
    data = encoded(first, kind, save_all=True, append_images=[second])
    assert np.abs(pixels_of(data, 1).ravel().astype(int) - [250, 0, 0]).max() < 12
