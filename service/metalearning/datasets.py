"""Data sets for meta-training and evaluation: classes of uint8 images, all held in memory.

Readers take the bytes of files through a `decode` function that the caller hands in, so that training,
evaluation and the service turn a file into pixels in the same way. A class is a folder of image files; which
folders are read, and from which archives, is all that differs between the data sets.
"""

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from service.errors import DatasetError
from service.wording import counted

Decode: TypeAlias = Callable[[bytes], NDArray[np.uint8]]
Pick: TypeAlias = Callable[[str], bool]
Split: TypeAlias = Literal["train", "val", "trainval", "test"]

LAKE_HELD_OUT = 5
SPLITS: tuple[Split, ...] = ("train", "val", "trainval", "test")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Named classes, each with the rows of `images` that belong to it.

    Attributes:
        name: what figures call it.
        images: every image, (n_images, channels, side_px, side_px).
        class_names: unique.
        rows: for each class its images; support sets are drawn from them.
        query_rows: the images that query sets are drawn from, where the data set keeps them apart; None: from
            those of `rows` that the support set left.
        trials: where the data set is a test of fixed episodes: the classes of each.
    """

    name: str
    images: UInt8[Tensor, "n_images channels height width"]
    class_names: tuple[str, ...]
    rows: tuple[Int[Tensor, " _"], ...]
    query_rows: tuple[Int[Tensor, " _"], ...] | None = None
    trials: tuple[tuple[int, ...], ...] = ()

    @property
    def groups(self) -> tuple[int, ...]:
        """The group of each class: the folder above its own, at one rotation."""
        folders = [(_folder(name), name.partition("@")[2]) for name in self.class_names]
        number = {folder: index for index, folder in enumerate(dict.fromkeys(folders))}
        return tuple(number[folder] for folder in folders)

    @property
    def labels(self) -> Int[Tensor, " n_images"]:
        """The number of the class of each image."""
        labels = torch.empty(len(self.images), dtype=torch.long)
        for label, rows in enumerate(self.rows):
            labels[rows] = label
        return labels

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def read_class_folders(root: Path, decode: Decode, *, name: str, pick: Pick | None = None) -> Dataset:
    """A data set of every folder, in a folder or a zip, that directly holds image files.

    Files are told by their suffix; hidden ones are passed over. A class is called by the path of its folder.

    Args:
        root: a folder, or a zip file.
        decode: turns a file's bytes into (channels, side_px, side_px).
        name: what figures call the data set.
        pick: tells by its path, relative to root and with slashes, whether a file is used; all are by default.

    Raises:
        DatasetError: there is no image, or one cannot be decoded.
    """
    return read_folders([root], decode, name=name, pick=pick)


def read_folders(roots: Sequence[Path], decode: Decode, *, name: str, pick: Pick | None = None) -> Dataset:
    """The same for several folders or zips, whose class folders have different paths."""
    paths, images = _decoded_files(roots, decode, pick)
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        rows[_folder(path)].append(row)
    return Dataset(name, images, tuple(rows), tuple(torch.tensor(of_class) for of_class in rows.values()))


def read_omniglot(root: Path, split: Split, decode: Decode) -> Dataset:
    """Omniglot characters by the split of Vinyals et al. 2016: 1028 / 172 / 423, four rotations not yet made.

    Args:
        root: the folder of images_background.zip, images_evaluation.zip and splits/omniglot_vinyals.
        split: `trainval` is the 1200 characters that are not in `test`.
        decode: turns a file's bytes into (1, side_px, side_px).
    """
    wanted = omniglot_characters(root, split)
    archives = [root / "images_background.zip", root / "images_evaluation.zip"]
    found = read_folders(archives, decode, name="omniglot", pick=lambda path: _folder(path) in wanted)
    missing = wanted - set(found.class_names)
    if missing:
        without = counted(len(missing), "character")
        raise DatasetError(f"{without} of split {split!r} without images, such as {min(missing)}")
    return found


def read_omniglot_lake(root: Path, split: Split, decode: Decode) -> Dataset:
    """Lake et al. 2015: train on the background alphabets alone, test on 20 runs within an alphabet.

    Args:
        root: the folder of images_background.zip and omniglot_all_runs.zip.
        split: `trainval` is all 30 background alphabets, `val` the last LAKE_HELD_OUT of them by name; `test` is the
            20 runs of 20 trials, each 20-way 1-shot.
        decode: turns a file's bytes into (1, side_px, side_px).
    """
    if split == "test":
        return _lake_runs(root / "omniglot_all_runs.zip", decode)
    found = read_folders([root / "images_background.zip"], decode, name="omniglot-lake")
    alphabets = sorted({_folder(name) for name in found.class_names})
    parts = {"train": alphabets[:-LAKE_HELD_OUT], "val": alphabets[-LAKE_HELD_OUT:], "trainval": alphabets}
    return with_classes(found, [i for i, name in enumerate(found.class_names) if _folder(name) in parts[split]])


def omniglot_characters(root: Path, split: Split) -> set[str]:
    """The class names of a split: the folders of its characters in the archives."""
    return {path for part in _parts(split) for path in _characters(root, part)}


def read_cifar_fs(root: Path, split: Split, decode: Decode) -> Dataset:
    """CIFAR-FS (Bertinetto et al. 2019) from its packs cifar_fs_{train,val,test}.zip in `root`."""
    return read_folders([root / f"cifar_fs_{part}.zip" for part in _parts(split)], decode, name="cifar-fs")


def read_tiny_imagenet(root: Path, split: Split, decode: Decode) -> Dataset:
    """Tiny-ImageNet classes, 140 / 20 / 40, from tiny_imagenet.zip in `root`, whose top folders are the parts."""
    parts = _parts(split)
    archive = root / "tiny_imagenet.zip"
    return read_class_folders(archive, decode, name="tiny-imagenet", pick=lambda path: path.split("/")[0] in parts)


def read_folder(root: Path, split: Split, decode: Decode) -> Dataset:  # noqa: ARG001  # a folder has no split
    """A user's own folder or zip of class folders, all of it."""
    return read_class_folders(root, decode, name=root.stem)


def read_grocery(root: Path, split: Split, decode: Decode) -> Dataset:
    """Grocery Store photographs: support from files named `train_`, query from `test_`; a test set only."""
    if split != "test":
        raise DatasetError(f"grocery is for tests only and has no split {split!r}")
    paths, images = _decoded_files([root / "grocery_store_84.zip"], decode, None)
    names = tuple(dict.fromkeys(_folder(path) for path in paths))

    def rows(prefix: str) -> tuple[Tensor, ...]:
        chosen = [(row, path) for row, path in enumerate(paths) if PurePosixPath(path).name.startswith(prefix)]
        return tuple(torch.tensor([row for row, path in chosen if _folder(path) == name]) for name in names)

    return Dataset("grocery", images, names, rows("train_"), rows("test_"))


def with_rotations(dataset: Dataset) -> Dataset:
    """Each class four times: as it is and turned by 90, 180 and 270 degrees, as classes of their own."""
    turns = range(4)
    n_images = len(dataset.images)

    def turned(rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(of_class + turn * n_images for turn in turns for of_class in rows)

    names = tuple(name if turn == 0 else f"{name}@{90 * turn}" for turn in turns for name in dataset.class_names)
    images = torch.cat([torch.rot90(dataset.images, turn, (2, 3)) for turn in turns])
    query_rows = None if dataset.query_rows is None else turned(dataset.query_rows)
    return Dataset(dataset.name, images, names, turned(dataset.rows), query_rows)


def with_classes(dataset: Dataset, chosen: Sequence[int]) -> Dataset:
    """The data set with these classes only; all images stay in memory."""

    def kept(rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(rows[index] for index in chosen)

    names = tuple(dataset.class_names[index] for index in chosen)
    query_rows = None if dataset.query_rows is None else kept(dataset.query_rows)
    return Dataset(dataset.name, dataset.images, names, kept(dataset.rows), query_rows)


DATASETS: Mapping[str, Callable[[Path, Split, Decode], Dataset]] = {
    "folder": read_folder,
    "omniglot": read_omniglot,
    "omniglot-lake": read_omniglot_lake,
    "cifar-fs": read_cifar_fs,
    "tiny-imagenet": read_tiny_imagenet,
    "grocery": read_grocery,
}
"""Readers by the names that recipes and `handful evaluate --dataset` use."""


def _lake_runs(archive: Path, decode: Decode) -> Dataset:
    """The runs as fixed episodes: a class is a training drawing, its query the test drawing that the answers name."""
    paths, images = _decoded_files([archive], decode, None)
    row = {path: index for index, path in enumerate(paths)}
    answers = _lake_answers(archive)
    names = sorted(answers)
    try:
        rows = tuple(torch.tensor([row[name]]) for name in names)
        query_rows = tuple(torch.tensor([row[answers[name]]]) for name in names)
    except KeyError as error:
        raise DatasetError(f"{archive.name} names {error} but does not hold it") from error
    runs: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        runs[name.split("/")[0]].append(index)
    return Dataset("omniglot-lake", images, tuple(names), rows, query_rows, tuple(map(tuple, runs.values())))


def _lake_answers(archive: Path) -> dict[str, str]:
    """For each training drawing of every run the test drawing of the same character."""
    answers: dict[str, str] = {}
    for path, read in _zip_files(archive):
        if path.endswith("/class_labels.txt"):
            for line in read().decode().splitlines():
                query, support = line.split()
                answers[support] = query
    return answers


def _parts(split: Split) -> tuple[str, ...]:
    return ("train", "val") if split == "trainval" else (split,)


def _characters(root: Path, part: str) -> Iterator[str]:
    """Folders of a part of the split, as paths in the archives."""
    path = root / "splits" / "omniglot_vinyals" / f"{part}.json"
    try:
        trees: Mapping[str, Mapping[str, Sequence[str]]] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"the split file {path.name} cannot be read: {error}") from error
    for tree, alphabets in trees.items():
        for alphabet, characters in alphabets.items():
            yield from (f"images_{tree}/{alphabet}/{character}" for character in characters)


def _decoded_files(roots: Sequence[Path], decode: Decode, pick: Pick | None) -> tuple[list[str], Tensor]:
    """Paths of the picked image files and their pixels, in one order."""
    paths: list[str] = []
    images: list[Tensor] = []
    for path, data in _picked_files(roots, pick):
        paths.append(path)
        images.append(_decoded(decode, path, data))
    if not images:
        raise DatasetError(f"no image found in class folders of {', '.join(root.name for root in roots)}")
    return paths, torch.stack(images)


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _picked_files(roots: Sequence[Path], pick: Pick | None) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each image file, sorted by path within a root."""
    for root in roots:
        files = _zip_files(root) if root.is_file() else _folder_files(root)
        yield from ((path, read()) for path, read in files if _is_image(path) and (pick is None or pick(path)))


def _folder_files(root: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if not root.is_dir():
        raise DatasetError(f"{root.name} is neither a folder nor a zip file")
    for file in sorted(root.rglob("*")):
        yield file.relative_to(root).as_posix(), file.read_bytes


def _zip_files(root: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    try:
        with zipfile.ZipFile(root) as archive:
            for path in sorted(archive.namelist()):
                yield path, partial(archive.read, path)
    except zipfile.BadZipFile as error:
        raise DatasetError(f"{root.name} is not a zip file: {error}") from error


def _is_image(path: str) -> bool:
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return len(parts) > 1 and not hidden and PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def _decoded(decode: Decode, path: str, data: bytes) -> Tensor:
    try:
        return torch.tensor(decode(data))
    except Exception as error:
        raise DatasetError(f"{path} cannot be read as an image: {error}") from error
