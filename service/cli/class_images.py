"""The images that projections are learned on: domains of training classes, from the archives of `photo`.

A projection helps in domains that it was not learned on too, but drawings and signs far more where they are among
those it was, so there are several, and half of them are made.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from service.cli.learning import decoder
from service.cli.output import say

if TYPE_CHECKING:
    import torch

    from service.metalearning.datasets import Dataset, Decode, Pick, Split
    from service.metalearning.ensemble import Ensemble
    from service.metalearning.header import InputFormat, PixelScaling
    from service.metalearning.made_images import Pixels
    from service.metalearning.projection import Domain

ARCHIVE = "tiny_imagenet.zip"
ARCHIVES = f"{ARCHIVE}, cifar_fs_train.zip and Omniglot's archives"
IMAGES_OF_A_CLASS = 15
"""Of a class of photographs."""
PLACES = 4
"""Where the photographs of a class are taken, where places are made."""
CUT_PHOTOGRAPHS = 100
CUTS_OF_A_PHOTOGRAPH = 10
SIGNS = 48
IMAGES_OF_A_SIGN = 14
CHARACTERS = 200
DRAWINGS_OF_A_CHARACTER = 6


def read_domains(
    data: Path, backbone: "Ensemble", wanted: "InputFormat", scaling: "PixelScaling"
) -> "dict[str, Domain]":
    """What the members say of the training classes."""
    from service.metalearning.projection import seen_by_members  # noqa: PLC0415

    domains = {}
    for dataset in domain_images(data, "train", decoder(wanted)):
        say(f"{dataset.name}: {len(dataset.images)} images of {dataset.n_classes} classes")
        domains[dataset.name] = seen_by_members(backbone, dataset, scaling)
    return domains


def domain_images(data: Path, split: "Split", decode: "Decode") -> "Iterator[Dataset]":
    """A data set of each domain, named as it is, of classes of `train` or of `val`."""
    import torch  # noqa: PLC0415

    from service.metalearning.projection import PHOTOGRAPHS  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    photographs = _photographs(data / ARCHIVE, decode, PHOTOGRAPHS, folder=f"{split}/")
    yield photographs
    yield _dataset("photographs elsewhere", [_elsewhere(kind, generator) for kind in _kinds(photographs)])
    yield _dataset("cuts of photographs", _cut(photographs, generator))
    yield _photographs(data / f"cifar_fs_{split}.zip", decode, "coarse photographs")
    drawings = _drawings(data, split, decode)
    yield _dataset("signs", _signs(drawings, photographs, generator))
    yield drawings


def _photographs(archive: Path, decode: "Decode", name: str, *, folder: str = "") -> "Dataset":
    """The first of each class in a folder of the archive."""
    from service.metalearning.datasets import read_class_folders  # noqa: PLC0415

    pick = first_of_each(IMAGES_OF_A_CLASS, lambda path: path.startswith(folder))
    return read_class_folders(archive, decode, name=name, pick=pick)


def _elsewhere(kind: "Pixels", generator: "torch.Generator") -> "Pixels":
    """The photographs of a class, taken at a few places."""
    import torch  # noqa: PLC0415

    from service.metalearning.trust.places import any_place, taken_at  # noqa: PLC0415

    return torch.cat([taken_at(some, any_place(generator), generator) for some in kind.chunk(PLACES)])


def _cut(photographs: "Dataset", generator: "torch.Generator") -> "list[Pixels]":
    """Cuts of one photograph each of as many classes, so that a photograph is a class."""
    from service.metalearning.made_images import cuts  # noqa: PLC0415

    kinds = _kinds(photographs)[:CUT_PHOTOGRAPHS]
    return [cuts(kind[0], CUTS_OF_A_PHOTOGRAPH, generator) for kind in kinds]


def _signs(drawings: "Dataset", photographs: "Dataset", generator: "torch.Generator") -> "list[Pixels]":
    """Kinds of signs, each with a character, before photographs."""
    from service.metalearning.made_images import signs  # noqa: PLC0415

    glyphs = [kind[0] for kind in _kinds(drawings)[:SIGNS]]
    return [signs(glyph, photographs.images, IMAGES_OF_A_SIGN, generator) for glyph in glyphs]


def _drawings(data: Path, split: "Split", decode: "Decode") -> "Dataset":
    """Drawings of characters that are drawn by lot."""
    import torch  # noqa: PLC0415

    from service.metalearning.datasets import omniglot_characters, read_folders  # noqa: PLC0415

    characters = sorted(omniglot_characters(data, split))
    lot = torch.randperm(len(characters), generator=torch.Generator().manual_seed(0))[:CHARACTERS]
    chosen = {characters[index] for index in lot.tolist()}
    archives = [data / "images_background.zip", data / "images_evaluation.zip"]
    pick = first_of_each(DRAWINGS_OF_A_CHARACTER, chosen.__contains__)
    return read_folders(archives, decode, name="drawings", pick=pick)


def _kinds(dataset: "Dataset") -> "list[Pixels]":
    return [dataset.images[rows] for rows in dataset.rows]


def _dataset(name: str, kinds: "Sequence[Pixels]") -> "Dataset":
    import torch  # noqa: PLC0415

    from service.metalearning.datasets import Dataset  # noqa: PLC0415

    rows = torch.split(torch.arange(sum(map(len, kinds))), [len(kind) for kind in kinds])
    return Dataset(name, torch.cat(list(kinds)), tuple(str(index) for index in range(len(kinds))), rows)


def first_of_each(n_images: int, is_wanted: "Callable[[str], bool]") -> "Pick":
    """Tells whether a path is among the first of its folder that it is asked about, in wanted folders."""
    seen = Counter[str]()

    def pick(path: str) -> bool:
        folder = str(PurePosixPath(path).parent)
        seen[folder] += 1
        return is_wanted(folder) and seen[folder] <= n_images

    return pick
