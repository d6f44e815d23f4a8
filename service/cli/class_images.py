"""The images that modulations and projections are learned on: domains of training classes, from archives of `photo`.

Either helps in domains that it was not learned on too, but drawings and signs far more where they are among those it
was, so there are several, and half of them are made.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
    from service.metalearning.modulation import Lessons
    from service.metalearning.projection import Domain

ARCHIVE = "tiny_imagenet.zip"
ARCHIVES = f"{ARCHIVE}, cifar_fs_train.zip and Omniglot's archives"
IMAGES_OF_A_CLASS = 15
"""Of a class of photographs, where little is enough."""
PLACES = 4
"""Where the photographs of a class are taken, where places are made."""
SHARES = {
    "photographs": 4.0,
    "cuts of photographs": 2.0,
    "coarse photographs": 2.0,
    "signs": 1.5,
    "drawings": 1.5,
}
"""How often a modulation sees each domain."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many images each domain has.

    Attributes:
        images: most of a class of photographs.
        cut_photographs: of how many photographs there are cuts, each of another class.
        cuts: of a photograph.
        signs: kinds of signs.
        images_of_a_sign: of a kind.
        characters: kinds of drawings.
        drawings: most of a character.
    """

    images: int
    cut_photographs: int
    cuts: int
    signs: int
    images_of_a_sign: int
    characters: int
    drawings: int


FEW = Sizes(IMAGES_OF_A_CLASS, 100, 10, signs=48, images_of_a_sign=14, characters=200, drawings=6)
"""For a projection, in closed form."""
MANY = Sizes(100, 140, 16, signs=120, images_of_a_sign=30, characters=400, drawings=12)
"""For a modulation, by gradient."""


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


def lessons(data: Path, decode: "Decode") -> "dict[str, Lessons]":
    """The training classes as a modulation learns them."""
    from service.metalearning.modulation import Lessons  # noqa: PLC0415

    found = {}
    for dataset in domain_images(data, "train", decode, MANY, elsewhere=False):
        say(f"{dataset.name}: {len(dataset.images)} images of {dataset.n_classes} classes")
        kind = dataset.name
        is_mirrored, is_taken_elsewhere = kind not in {"signs", "drawings"}, kind != "drawings"
        found[kind] = Lessons(dataset.images, dataset.labels, SHARES[kind], is_mirrored, is_taken_elsewhere)
    return found


def domain_images(
    data: Path, split: "Split", decode: "Decode", sizes: Sizes = FEW, *, elsewhere: bool = True
) -> "Iterator[Dataset]":
    """A data set of each domain, named as it is, of classes of `train` or of `val`.

    Args:
        data: the folder of the archives.
        split: which classes.
        decode: image files to pixels.
        sizes: of the domains.
        elsewhere: whether photographs taken elsewhere are among them.
    """
    import torch  # noqa: PLC0415

    from service.metalearning.projection import PHOTOGRAPHS  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    photographs = _photographs(data / ARCHIVE, decode, PHOTOGRAPHS, sizes, folder=f"{split}/")
    yield photographs
    if elsewhere:
        yield _dataset("photographs elsewhere", [_elsewhere(kind, generator) for kind in _kinds(photographs)])
    yield _dataset("cuts of photographs", _cut(photographs, sizes, generator))
    yield _photographs(data / f"cifar_fs_{split}.zip", decode, "coarse photographs", sizes)
    drawings = _drawings(data, split, decode, sizes)
    yield _dataset("signs", _signs(drawings, photographs, sizes, generator))
    yield drawings


def _photographs(archive: Path, decode: "Decode", name: str, sizes: Sizes, *, folder: str = "") -> "Dataset":
    """The first of each class in a folder of the archive."""
    from service.metalearning.datasets import read_class_folders  # noqa: PLC0415

    pick = first_of_each(sizes.images, lambda path: path.startswith(folder))
    return read_class_folders(archive, decode, name=name, pick=pick)


def _elsewhere(kind: "Pixels", generator: "torch.Generator") -> "Pixels":
    """The photographs of a class, taken at a few places."""
    import torch  # noqa: PLC0415

    from service.metalearning.trust.places import any_place, taken_at  # noqa: PLC0415

    return torch.cat([taken_at(some, any_place(generator), generator) for some in kind.chunk(PLACES)])


def _cut(photographs: "Dataset", sizes: Sizes, generator: "torch.Generator") -> "list[Pixels]":
    """Cuts of one photograph each of as many classes, so that a photograph is a class."""
    from service.metalearning.made_images import cuts  # noqa: PLC0415

    kinds = _kinds(photographs)[: sizes.cut_photographs]
    return [cuts(kind[0], sizes.cuts, generator) for kind in kinds]


def _signs(drawings: "Dataset", photographs: "Dataset", sizes: Sizes, generator: "torch.Generator") -> "list[Pixels]":
    """Kinds of signs, each with a character, before photographs."""
    from service.metalearning.made_images import signs  # noqa: PLC0415

    glyphs = [kind[0] for kind in _kinds(drawings)[: sizes.signs]]
    return [signs(glyph, photographs.images, sizes.images_of_a_sign, generator) for glyph in glyphs]


def _drawings(data: Path, split: "Split", decode: "Decode", sizes: Sizes) -> "Dataset":
    """Drawings of characters that are drawn by lot."""
    import torch  # noqa: PLC0415

    from service.metalearning.datasets import omniglot_characters, read_folders  # noqa: PLC0415

    characters = sorted(omniglot_characters(data, split))
    lot = torch.randperm(len(characters), generator=torch.Generator().manual_seed(0))[: sizes.characters]
    chosen = {characters[index] for index in lot.tolist()}
    archives = [data / "images_background.zip", data / "images_evaluation.zip"]
    pick = first_of_each(sizes.drawings, chosen.__contains__)
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
