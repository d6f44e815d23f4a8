"""The images that projections are learned on, from the archives that `photo` is made with."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from service.cli.learning import decoder
from service.cli.output import say

if TYPE_CHECKING:
    from service.metalearning.datasets import Dataset, Decode, Pick
    from service.metalearning.ensemble import Ensemble
    from service.metalearning.header import InputFormat, PixelScaling
    from service.metalearning.projection import Domain

ARCHIVE = "tiny_imagenet.zip"
IMAGES_OF_A_CLASS = 15
"""Of a class of photographs."""
CHARACTERS = 200
DRAWINGS_OF_A_CHARACTER = 6


def read_domains(
    data: Path, backbone: "Ensemble", wanted: "InputFormat", scaling: "PixelScaling"
) -> "dict[str, Domain]":
    """What the members say of the training classes."""
    from service.metalearning.projection import PHOTOGRAPHS, seen_by_members  # noqa: PLC0415

    domains = {}
    for name, read in ((PHOTOGRAPHS, _photographs), ("drawings", _drawings)):
        dataset = read(data, decoder(wanted))
        say(f"{name}: {len(dataset.images)} images of {dataset.n_classes} classes")
        domains[name] = seen_by_members(backbone, dataset, scaling)
    return domains


def _photographs(data: Path, decode: "Decode") -> "Dataset":
    from service.metalearning.datasets import read_class_folders  # noqa: PLC0415

    pick = first_of_each(IMAGES_OF_A_CLASS, lambda folder: folder.startswith("train/"))
    return read_class_folders(data / ARCHIVE, decode, name="tiny-imagenet", pick=pick)


def _drawings(data: Path, decode: "Decode") -> "Dataset":
    """Drawings of characters drawn by lot from the training split."""
    import torch  # noqa: PLC0415

    from service.metalearning.datasets import omniglot_characters, read_folders  # noqa: PLC0415

    characters = sorted(omniglot_characters(data, "train"))
    lot = torch.randperm(len(characters), generator=torch.Generator().manual_seed(0))[:CHARACTERS]
    chosen = {characters[index] for index in lot.tolist()}
    archives = [data / "images_background.zip", data / "images_evaluation.zip"]
    pick = first_of_each(DRAWINGS_OF_A_CHARACTER, chosen.__contains__)
    return read_folders(archives, decode, name="omniglot", pick=pick)


def first_of_each(n_images: int, is_wanted: "Callable[[str], bool]") -> "Pick":
    """Tells whether a path is among the first of its folder that it is asked about, in wanted folders."""
    seen = Counter[str]()

    def pick(path: str) -> bool:
        folder = str(PurePosixPath(path).parent)
        seen[folder] += 1
        return is_wanted(folder) and seen[folder] <= n_images

    return pick
