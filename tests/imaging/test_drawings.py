"""Which pictures look drawn, and what is made of their ink."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from service.imaging import decode
from service.imaging.drawings import drawing, ink_of
from service.metalearning.header import InputFormat
from tests.benchmarks.pen_photographs import pen_photograph
from tests.image_factories import MAX_PIXELS, encoded, noise, omniglot_like

PLAIN, INK = InputFormat(28, 1), InputFormat(28, 1, ink=True)
WANTED = [INK, InputFormat(96, 3)]


@pytest.mark.parametrize("size_px", [28, 105, 1000])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_drawing_looks_drawn(size_px: int, kind: str) -> None:
    assert _looks_drawn(encoded(omniglot_like(size_px).convert("L"), kind))


@pytest.mark.parametrize("size_px", [28, 64, 300, 1200])
def test_an_antialiased_drawing_looks_drawn(size_px: int) -> None:
    smooth = omniglot_like(1000).convert("L").resize((size_px, size_px), Image.Resampling.LANCZOS)
    assert _looks_drawn(encoded(smooth, "PNG"))


def test_white_on_black_looks_drawn() -> None:
    assert _looks_drawn(encoded(ImageOps.invert(omniglot_like().convert("L")), "PNG"))


def test_strokes_on_a_transparent_canvas_look_drawn() -> None:
    canvas = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).line([(30, 40), (200, 250), (260, 60)], fill="black", width=14)
    assert _looks_drawn(encoded(canvas, "PNG"))


def test_a_photograph_does_not_look_drawn() -> None:
    assert not _looks_drawn(encoded(noise(300, 200), "JPEG"))


def test_a_grey_photograph_does_not_look_drawn() -> None:
    assert not _looks_drawn(encoded(noise(300, 200).convert("L"), "JPEG"))


def test_a_coloured_sign_does_not_look_drawn() -> None:
    sign = Image.new("RGB", (100, 100), "white")
    ImageDraw.Draw(sign).rectangle((20, 20, 80, 80), fill=(220, 30, 30))
    assert not _looks_drawn(encoded(sign, "PNG"))


@pytest.mark.parametrize("seed", range(6))
def test_a_photograph_of_a_pen_drawing_looks_drawn(seed: int) -> None:
    assert _looks_drawn(pen_photograph(omniglot_like(), np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(3))
def test_chalk_on_a_blackboard_looks_drawn(seed: int) -> None:
    assert _looks_drawn(_inverted(pen_photograph(omniglot_like(), np.random.default_rng(seed))))


def test_a_marker_on_a_white_canvas_looks_drawn() -> None:
    canvas = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(canvas).line([(30, 40), (200, 250), (260, 60)], fill=(20, 60, 200), width=8)
    assert _looks_drawn(encoded(canvas, "PNG"))


@pytest.mark.parametrize("colour", [(200, 190, 170), (180, 30, 40)])
def test_a_sheet_without_a_mark_does_not_look_drawn(colour: tuple[int, int, int]) -> None:
    assert not _looks_drawn(encoded(Image.new("RGB", (300, 200), colour), "PNG"))


def test_ink_on_a_shaded_ground_is_found_to_the_pixel() -> None:
    ground = np.linspace(120, 240, 112)[None, :].repeat(112, axis=0)
    stroke = np.zeros((112, 112), bool)
    stroke[30:80, 40:44] = stroke[50:54, 20:90] = True
    ink = ink_of(Image.fromarray(np.where(stroke, ground * 0.3, ground).astype(np.uint8)))
    np.testing.assert_array_equal(ink.amount > 0.5, stroke)
    assert ink.contrast == pytest.approx(0.7, abs=0.02)
    assert ink.looks_drawn


def test_the_cut_out_drawing_stands_in_the_middle_with_a_margin() -> None:
    picture = np.full((112, 112), 255, np.uint8)
    picture[10:45, 5:8] = 0
    sheet = np.asarray(drawing(ink_of(Image.fromarray(picture))))
    assert sheet.shape == (50, 50)  # 35 / 0.7
    rows, columns = np.nonzero(sheet < 128)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 41, 23, 25)


def test_a_sheet_without_a_mark_becomes_white() -> None:
    assert (_array(encoded(Image.new("RGB", (300, 200), (200, 190, 170)), "PNG")) == 255).all()


@pytest.mark.parametrize("size_px", [28, 105, 1000])
def test_a_drawing_from_a_screen_keeps_its_pixels(size_px: int) -> None:
    data = encoded(omniglot_like(size_px).convert("L"), "PNG")
    np.testing.assert_array_equal(_array(data), decode(data, [PLAIN], max_pixels=MAX_PIXELS * 2).arrays[0])


def test_white_on_black_gives_the_same_array_as_black_on_white() -> None:
    drawn = omniglot_like().convert("L")
    np.testing.assert_array_equal(_array(encoded(ImageOps.invert(drawn), "PNG")), _array(encoded(drawn, "PNG")))


@pytest.mark.parametrize("seed", range(1, 6))  # 0 is tilted so much that its lines lie beside those of the drawing
def test_a_photographed_pen_drawing_gives_nearly_the_array_of_its_drawing(seed: int) -> None:
    photographed = _array(pen_photograph(omniglot_like(), np.random.default_rng(seed)))
    cut_out = encoded(drawing(ink_of(omniglot_like(112).convert("L"))), "PNG")
    assert np.corrcoef(photographed.ravel(), _array(cut_out).ravel())[0, 1] > 0.85


def test_an_array_of_ink_does_not_depend_on_the_formats_beside_it() -> None:
    data = pen_photograph(omniglot_like(), np.random.default_rng(0))
    for beside in (InputFormat(224, 3, "stretch"), InputFormat(16, 3), InputFormat(300, 1)):
        together = decode(data, [beside, INK], max_pixels=MAX_PIXELS).arrays[1]
        np.testing.assert_array_equal(together, _array(data))


def test_ink_is_turned_upright() -> None:
    upright = Image.open(io.BytesIO(pen_photograph(omniglot_like(), np.random.default_rng(1)))).convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    turned = _array(encoded(lying, "PNG", exif=exif))
    assert np.abs(turned.astype(int) - _array(encoded(upright, "PNG"))).mean() < 3


def test_omniglot_looks_drawn(shared_data: Path) -> None:
    answers = [_looks_drawn(data) for data in _members(shared_data / "images_evaluation.zip", 300)]
    assert np.mean(answers) == 1


def test_photographs_of_groceries_do_not_look_drawn(shared_data: Path) -> None:
    files = _members(shared_data / "grocery_store_84.zip", 300)
    grey = [encoded(Image.open(io.BytesIO(data)).convert("L"), "PNG") for data in files]
    assert not any(_looks_drawn(data) for data in files)
    assert not any(_looks_drawn(data) for data in grey)


def test_few_small_photographs_look_drawn_even_without_their_colour(shared_data: Path) -> None:
    files = _members(shared_data / "tiny_imagenet.zip", 400)
    grey = [encoded(Image.open(io.BytesIO(data)).convert("L"), "PNG") for data in files]
    assert np.mean([_looks_drawn(data) for data in files]) < 0.02
    assert np.mean([_looks_drawn(data) for data in grey]) < 0.03


def _looks_drawn(data: bytes) -> bool:
    return decode(data, WANTED, max_pixels=MAX_PIXELS * 2).looks_drawn


def _array(data: bytes) -> NDArray[np.uint8]:
    return decode(data, [INK], max_pixels=MAX_PIXELS * 2).arrays[0]


def _inverted(data: bytes) -> bytes:
    return encoded(ImageOps.invert(Image.open(io.BytesIO(data)).convert("RGB")), "PNG")


def _members(archive: Path, n: int) -> list[bytes]:
    """Every so-many-th image of the archive."""
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if Path(name).suffix in {".png", ".jpg", ".JPEG", ".jpeg"})
        return [files.read(name) for name in names[:: max(1, len(names) // n)]]
