"""What a decoded array is: its size, its fit, its orientation, and that nothing else changes it."""

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging import decode, media_type
from service.metalearning.header import Fit, InputFormat, Resampling
from tests.image_factories import MAX_PIXELS, encoded, noise, omniglot_like, pixels_of, quarters

FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF"]

ORIENTATIONS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""How a picture is stored that is to be seen upright: EXIF 2.3, tag 0x0112, worked out by hand."""


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_told_by_its_bytes_and_gives_its_picture(kind: str) -> None:
    data = encoded(Image.fromarray(quarters()), kind)
    decoded = decode(data, [InputFormat(32, 3, "stretch")], max_pixels=MAX_PIXELS)
    assert (decoded.media_type, decoded.width_px, decoded.height_px) == (f"image/{kind.lower()}", 64, 32)
    assert media_type(data) == decoded.media_type
    corners = decoded.arrays[0][:, [4, 4, 27, 27], [4, 27, 4, 27]].T.astype(int)
    assert np.abs(corners - quarters()[[4, 4, 27, 27], [4, 60, 4, 60]]).max() < 12


def test_one_decode_serves_several_formats() -> None:
    wanted = [InputFormat(28, 1), InputFormat(96, 3), InputFormat(7, 3, "stretch")]
    decoded = decode(encoded(noise(120, 80), "PNG"), wanted, max_pixels=MAX_PIXELS)
    assert [array.shape for array in decoded.arrays] == [(1, 28, 28), (3, 96, 96), (3, 7, 7)]
    assert all(array.dtype == np.uint8 and array.flags["C_CONTIGUOUS"] for array in decoded.arrays)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_array_does_not_depend_on_the_formats_beside_it(kind: str) -> None:
    data, small, large = encoded(noise(400, 300), kind), InputFormat(28, 1), InputFormat(192, 3)
    together = decode(data, [small, large], max_pixels=MAX_PIXELS).arrays
    alone = [decode(data, [wanted], max_pixels=MAX_PIXELS).arrays[0] for wanted in (small, large)]
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1], alone[1])


def test_pad_keeps_the_whole_image_in_the_middle_of_white() -> None:
    wide = decode(encoded(Image.new("L", (40, 20)), "PNG"), [InputFormat(20, 1)], max_pixels=MAX_PIXELS).arrays[0][0]
    expected = np.full((20, 20), 255)
    expected[5:15] = 0
    np.testing.assert_array_equal(wide, expected)
    tall = decode(encoded(Image.new("L", (20, 40)), "PNG"), [InputFormat(20, 1)], max_pixels=MAX_PIXELS).arrays[0][0]
    np.testing.assert_array_equal(tall, expected.T)


def test_stretch_fills_the_array_with_the_whole_image() -> None:
    data = encoded(Image.fromarray(quarters(16, 4)), "PNG")
    np.testing.assert_array_equal(pixels_of(data, 2), quarters(2, 2))


def test_a_small_image_is_enlarged() -> None:
    data = encoded(Image.fromarray(quarters(2, 2)), "PNG")
    np.testing.assert_array_equal(pixels_of(data, 8), quarters(8, 8))


def test_one_channel_is_luminance_and_three_are_red_green_blue() -> None:
    data = encoded(Image.new("RGB", (5, 5), (255, 0, 0)), "PNG")
    assert pixels_of(data, 1, channels=1).item() == round(0.299 * 255)
    assert pixels_of(data, 1).ravel().tolist() == [255, 0, 0]


def test_an_omniglot_drawing_becomes_dark_ink_on_white() -> None:
    array = decode(encoded(omniglot_like(), "PNG"), [InputFormat(28, 1)], max_pixels=MAX_PIXELS).arrays[0]
    assert array.shape == (1, 28, 28)
    assert (array[0, 0] == 255).all()
    assert array.min() < 80
    assert 200 < array.mean() < 250


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {})])
def test_every_orientation_is_turned_upright(orientation: int, kind: str, options: dict[str, object]) -> None:
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](quarters())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **options)
    decoded = decode(data, [InputFormat(64, 3)], max_pixels=MAX_PIXELS)
    assert (decoded.width_px, decoded.height_px) == (64, 32)
    picture = decoded.arrays[0].transpose(1, 2, 0)
    _assert_quarters(picture[16:48])
    assert (picture[:16] > 250).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_avif_is_turned_upright(orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](quarters())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(stored, "AVIF", exif=exif, quality=95), [InputFormat(64, 3)], max_pixels=MAX_PIXELS)
    _assert_quarters(decoded.arrays[0].transpose(1, 2, 0)[16:48])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_jpeg_decoded_at_reduced_scale_is_turned_upright(orientation: int) -> None:
    upright = quarters(643, 321)
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(stored, "JPEG", exif=exif), [InputFormat(64, 3)], max_pixels=MAX_PIXELS)
    assert (decoded.width_px, decoded.height_px) == (643, 321)
    _assert_quarters(decoded.arrays[0].transpose(1, 2, 0)[16:48])


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1)])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_an_extreme_aspect_ratio_is_decoded(size: tuple[int, int], fit: Fit, kind: str) -> None:
    data = encoded(Image.new("RGB", size, "black"), kind)
    array = decode(data, [InputFormat(28, 1, fit)], max_pixels=MAX_PIXELS).arrays[0]
    assert (array == 0).sum() == {"pad": 28, "stretch": 28 * 28}[fit]


@pytest.mark.parametrize("resampling", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA"])
def test_a_large_reduction_averages_and_does_not_pick(resampling: Resampling, mode: str) -> None:
    chequers = Image.fromarray((np.indices((600, 600)).sum(axis=0) % 2 * 255).astype(np.uint8)).convert(mode)
    wanted = InputFormat(10, 1, "pad", resampling)
    array = decode(encoded(chequers, "PNG"), [wanted], max_pixels=MAX_PIXELS).arrays[0].astype(int)
    assert np.abs(array - 127.5).max() < 3


def test_a_jpeg_at_reduced_scale_is_close_to_the_whole_one() -> None:
    photo = noise(1600, 1200).resize((800, 600))
    data = encoded(photo, "JPEG", quality=95)
    whole = encoded(Image.open(io.BytesIO(data)), "PNG")
    wanted = [InputFormat(96, 3)]
    reduced = decode(data, wanted, max_pixels=MAX_PIXELS).arrays[0].astype(int)
    full = decode(whole, wanted, max_pixels=MAX_PIXELS).arrays[0].astype(int)
    assert np.abs(reduced - full).mean() < 1


def test_threads_decode_the_same_pixels() -> None:
    files = [encoded(noise(200, 150, seed), kind) for seed, kind in enumerate(FORMATS)] * 4
    wanted = [InputFormat(64, 3)]
    alone = [decode(data, wanted, max_pixels=MAX_PIXELS).arrays[0] for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, wanted, max_pixels=MAX_PIXELS).arrays[0], files))
    np.testing.assert_array_equal(np.stack(together), np.stack(alone))


def test_decoding_loads_no_torch() -> None:
    program = "import service.imaging, service.artifacts, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def _assert_quarters(picture: NDArray[np.uint8]) -> None:
    """The four quarters stand where they should; colours at their middles, where no format blurs them."""
    middles = picture[[8, 8, 24, 24], [16, 48, 16, 48]].astype(int)
    assert np.abs(middles - quarters()[[8, 8, 24, 24], [16, 48, 16, 48]]).max() < 12
