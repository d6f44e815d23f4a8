"""The domains that a base model's calibration is fitted on, made of validation classes.

Drawings: Omniglot's validation characters in a mirror, because `omniglot-conv4` was meta-trained on the characters
themselves; four domains of every fourth class.

Photographs: Tiny-ImageNet's and CIFAR-FS's validation classes as they are, reduced to 32 px, among look-alikes, with
each class's examples taken in one place and its queries in another, and with examples that are bursts of three scenes;
and drawn characters. `places` says how images are taken elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from service.metalearning.datasets import (
    Dataset,
    Decode,
    read_cifar_fs,
    read_omniglot,
    read_tiny_imagenet,
    with_classes,
    with_rotations,
)
from service.metalearning.trust.drawing import Domain, Kinds
from service.metalearning.trust.places import Pixels, any_place, coarse, taken_at

N_PARTS = 4
"""Domains of drawings."""
TINY_IMAGES = 30
"""Of a class, the last SCENES of them for bursts."""
SCENES = 3
BURST_IMAGES = 6
CIFAR_IMAGES = 24
COARSE_IMAGES = 12
COARSE_PX = 32
CHARACTERS = 24
DRAWINGS_OF_A_CHARACTER = 12

Images = Mapping[str, Sequence[Pixels]]
"""By name, the images of each class."""


def images_of_drawings(data: Path, decode: Decode) -> Images:
    """What `domains_of_drawings` takes the features of."""
    drawn = read_omniglot(data, "val", decode)
    return {"mirrored": _kinds(with_rotations(replace(drawn, images=drawn.images.flip(-1))), None)}


def domains_of_drawings(features: Mapping[str, Kinds]) -> list[Domain]:
    """Parts of the mirrored characters."""
    return [Domain(f"mirrored {part}", features["mirrored"][part::N_PARTS]) for part in range(N_PARTS)]


def images_of_photographs(data: Path, decode: Decode) -> Images:
    """What `domains_of_photographs` takes the features of; a few hundred each."""
    tiny = _kinds(read_tiny_imagenet(data, "val", decode), TINY_IMAGES)
    cifar = _kinds(read_cifar_fs(data, "val", decode), CIFAR_IMAGES)
    drawn = read_omniglot(data, "val", decode)
    step = drawn.n_classes / CHARACTERS
    characters = with_classes(drawn, [int(index * step) for index in range(CHARACTERS)])
    return {
        "tiny": tiny,
        "tiny-here": _elsewhere(tiny, seed=1),
        "tiny-there": _elsewhere(tiny, seed=2),
        "tiny-bursts": _bursts([kind[-SCENES:] for kind in tiny], seed=3),
        "tiny-32": [coarse(kind[:COARSE_IMAGES], COARSE_PX) for kind in tiny],
        "cifar": cifar,
        "cifar-here": _elsewhere(cifar, seed=4),
        "omniglot": _kinds(characters, DRAWINGS_OF_A_CHARACTER),
    }


def domains_of_photographs(features: Mapping[str, Kinds]) -> list[Domain]:
    """The domains; where support and queries are from two places, they are never of the same photographs."""
    tiny, cifar = features["tiny"], features["cifar"]
    here, there = features["tiny-here"], features["tiny-there"]
    half, cifar_half = TINY_IMAGES // 2, CIFAR_IMAGES // 2
    return [
        Domain("tiny", tiny),
        Domain("tiny, look-alikes", tiny, are_alike=True),
        Domain("tiny, elsewhere", _first(here, half), _after(there, half)),
        Domain("tiny, look-alikes elsewhere", _after(there, half), _first(here, half), are_alike=True),
        Domain("tiny, bursts", features["tiny-bursts"], _first(tiny, TINY_IMAGES - SCENES)),
        Domain("tiny, 32 px", features["tiny-32"]),
        Domain("cifar", cifar),
        Domain("cifar, look-alikes", cifar, are_alike=True),
        Domain("cifar, elsewhere", _first(features["cifar-here"], cifar_half), _after(cifar, cifar_half)),
        Domain("omniglot", features["omniglot"]),
    ]


def _kinds(dataset: Dataset, n_images: int | None) -> list[Pixels]:
    return [dataset.images[rows[:n_images]] for rows in dataset.rows]


def _elsewhere(kinds: Sequence[Pixels], *, seed: int) -> list[Pixels]:
    """The images of each class taken at a place of the class's own."""
    generator = torch.Generator().manual_seed(seed)
    return [taken_at(kind, any_place(generator), generator) for kind in kinds]


def _bursts(kinds: Sequence[Pixels], *, seed: int) -> list[Pixels]:
    """BURST_IMAGES of each image, taken at one place."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.cat([_burst(kind[place], generator) for place in range(len(kind))]) for kind in kinds]


def _burst(scene: Tensor, generator: torch.Generator) -> Pixels:
    return taken_at(scene.expand(BURST_IMAGES, -1, -1, -1), any_place(generator), generator)


def _first(kinds: Kinds, n: int) -> list[Tensor]:
    return [kind[:n] for kind in kinds]


def _after(kinds: Kinds, n: int) -> list[Tensor]:
    return [kind[n:] for kind in kinds]
