"""Which pictures look drawn."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from service.imaging import decode
from service.metalearning.header import InputFormat
from tests.image_factories import MAX_PIXELS, encoded, noise, omniglot_like

WANTED = [InputFormat(28, 1), InputFormat(96, 3)]


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
    assert np.mean([_looks_drawn(data) for data in files]) < 0.01
    assert np.mean([_looks_drawn(data) for data in grey]) < 0.02


def _looks_drawn(data: bytes) -> bool:
    return decode(data, WANTED, max_pixels=MAX_PIXELS * 2).looks_drawn


def _members(archive: Path, n: int) -> list[bytes]:
    """Every so-many-th image of the archive."""
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if Path(name).suffix in {".png", ".jpg", ".JPEG", ".jpeg"})
        return [files.read(name) for name in names[:: max(1, len(names) // n)]]
