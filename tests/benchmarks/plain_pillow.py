"""By how much the answers of an exported file change where Pillow alone decodes, as in README's program.

    python -m tests.benchmarks.plain_pillow --data ../shared/data

Tasks of five classes are adapted to three images each through Handful's decoding; the other images are answered once
from Handful's pixels and once from plain Pillow's. Photographs are those of the Grocery Store samples, as they are and
enlarged to the size of a phone's (12 megapixels, JPEG), which Handful decodes at reduced scale. Prints a table.
"""

import argparse
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service import imaging
from service.metalearning.episodes import SupportSet
from service.metalearning.header import InputFormat
from service.metalearning.preprocessing import scaled
from service.metalearning.serialization import BaseModel, load_base_model
from service.usecases.base_models import SHIPPED

N_WAY, N_SHOT, N_QUERY = 5, 3, 12
PHONE_PX = (4000, 3000)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Difference:
    """What became of the answers of one kind of images."""

    name: str
    gaps: NDArray[np.float64]
    n_changed: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the images")
    data: Path = parser.parse_args().data
    print("| images | base model | answers | changed label | mean change of the probability | largest |")
    print("|---|---|---|---|---|---|")
    groceries = dict(classes(data / "sample_uploads_grocery.zip", ".jpg"))
    phone = {label: [enlarged(image) for image in images] for label, images in groceries.items()}
    drawings = dict(islice(classes(data / "images_evaluation.zip", ".png"), N_WAY))
    for name, base_model, images in [
        ("photographs, 348 px", "photo", groceries),
        ("photographs, 12 megapixels", "photo", phone),
        ("drawings, 105 px", "omniglot-conv4", drawings),
    ]:
        found = compared(name, load_base_model(SHIPPED / f"{base_model}.safetensors"), images)
        n = len(found.gaps)
        print(f"| {name} | {base_model} | {n} | {found.n_changed} | {found.gaps.mean():.4f} | {found.gaps.max():.4f} |")


def classes(archive: Path, suffix: str) -> Iterator[tuple[str, list[bytes]]]:
    """The images of each folder of an archive."""
    with zipfile.ZipFile(archive) as opened:
        by_folder: dict[str, list[bytes]] = {}
        for name in sorted(opened.namelist()):
            if name.endswith(suffix):
                by_folder.setdefault(str(PurePosixPath(name).parent), []).append(opened.read(name))
    yield from by_folder.items()


def enlarged(image: bytes) -> bytes:
    """The photograph as a phone would store it."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(image)).resize(PHONE_PX, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def compared(name: str, model: BaseModel, images: dict[str, list[bytes]]) -> Difference:
    """The answers from both kinds of pixels."""
    wanted = model.header.input
    learner = model.learner(model.header.default_learner)

    def floats(chosen: Iterable[bytes], decode: Callable[[bytes, InputFormat], Pixels]) -> torch.Tensor:
        return scaled(torch.from_numpy(np.stack([decode(image, wanted) for image in chosen])), model.header.scaling)

    support = [image for each in images.values() for image in each[:N_SHOT]]
    queries = [image for each in images.values() for image in each[N_SHOT : N_SHOT + N_QUERY]]
    labels = torch.arange(len(images)).repeat_interleave(N_SHOT)
    task = learner.adapt(SupportSet(floats(support, of_handful), labels))
    ours, theirs = (learner.predict(task, floats(queries, decode)).numpy() for decode in (of_handful, of_pillow))
    changed = int((ours.argmax(1) != theirs.argmax(1)).sum())
    return Difference(name, np.abs(ours - theirs).max(1).astype(np.float64), changed)


def of_handful(image: bytes, wanted: InputFormat) -> Pixels:
    """Pixels as the service decodes them."""
    return imaging.decode(image, [wanted], max_pixels=100_000_000).arrays[0]


def of_pillow(image: bytes, wanted: InputFormat) -> Pixels:
    """Pixels as README's program decodes them."""
    size, resampling = (wanted.side_px, wanted.side_px), Image.Resampling[wanted.resampling.upper()]
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(image))).convert("RGB")
    if wanted.fit == "pad":
        fitted = ImageOps.pad(upright, size, resampling, color="white", centering=(0.499, 0.499))
    else:
        fitted = upright.resize(size, resampling)
    coloured = fitted.convert("L" if wanted.channels == 1 else "RGB")
    return np.asarray(coloured).reshape(*size, wanted.channels).transpose(2, 0, 1).copy()


if __name__ == "__main__":
    main()
