"""How much faster a large JPEG becomes an input array when it is decoded at reduced scale, and what small images cost.

Run: `.venv/bin/python tests/benchmarks/image_decoding.py`. Each row alternates between Handful's `decode` and Pillow's
full decode followed by the same scaling, and prints medians, their ratio, and the mean difference of the
arrays in grey levels.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.imaging import decode
from service.metalearning.header import InputFormat

MAX_PIXELS = 100_000_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    table = Table("image", "array", "decode, ms", "full decode, ms", "ratio", "mean difference")
    for name, data in _files():
        for wanted in (InputFormat(28, 1), InputFormat(192, 3)):
            table.add_row(
                name, f"{wanted.channels}x{wanted.side_px}x{wanted.side_px}", *_figures(data, wanted, repeats)
            )
    Console().print(table)


def _figures(data: bytes, wanted: InputFormat, repeats: int) -> tuple[str, str, str, str]:
    ours_ms, full_ms = _alternated(
        lambda: decode(data, [wanted], max_pixels=MAX_PIXELS), lambda: _full_decode(data, wanted), repeats
    )
    ours = decode(data, [wanted], max_pixels=MAX_PIXELS).arrays[0].astype(float)
    difference = np.abs(ours - _full_decode(data, wanted)).mean()
    return f"{ours_ms:.2f}", f"{full_ms:.2f}", f"{full_ms / ours_ms:.1f}", f"{difference:.2f}"


def _full_decode(data: bytes, wanted: InputFormat) -> NDArray[np.uint8]:
    """Every pixel decoded, then scaled into white padding."""
    image = Image.open(io.BytesIO(data)).convert("L" if wanted.channels == 1 else "RGB")
    width, height = (max(1, round(side * wanted.side_px / max(image.size))) for side in image.size)
    canvas = Image.new(image.mode, (wanted.side_px, wanted.side_px), "white")
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(scaled, ((wanted.side_px - width) // 2, (wanted.side_px - height) // 2))
    return np.asarray(canvas).reshape(wanted.side_px, wanted.side_px, -1).transpose(2, 0, 1)


def _alternated(ours: Callable[[], object], full: Callable[[], object], repeats: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, kept in zip((ours, full), times, strict=True):
            start = time.perf_counter()
            run()
            kept.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


def _files() -> list[tuple[str, bytes]]:
    large, middle, small = _photograph(4000, 3000), _photograph(1280, 960), _photograph(350, 260)
    drawing = Image.fromarray(np.indices((105, 105)).sum(axis=0) % 40 > 3)
    return [
        ("12 megapixel JPEG", _encoded(large, "JPEG", quality=90)),
        ("12 megapixel progressive JPEG", _encoded(large, "JPEG", quality=90, progressive=True)),
        ("1.2 megapixel JPEG", _encoded(middle, "JPEG", quality=90)),
        ("0.1 megapixel JPEG", _encoded(small, "JPEG", quality=90)),
        ("1.2 megapixel PNG", _encoded(middle, "PNG")),
        ("105 px 1-bit PNG", _encoded(drawing, "PNG")),
    ]


def _photograph(width: int, height: int) -> Image.Image:
    """Soft shapes under grain, which compresses about like a photograph."""
    dice = np.random.default_rng(0)
    shapes = Image.fromarray(dice.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    soft = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return Image.fromarray((soft + dice.integers(-6, 7, soft.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8))


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
