"""The classes that a recipe trains on, and those that it measures on meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from service.errors import RecipeError
from service.metalearning.datasets import DATASETS, Dataset, Decode, with_classes, with_rotations
from service.metalearning.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Classes to train on, and those to measure on meanwhile, where the recipe asks for it."""

    train: Dataset
    validation: Dataset | None = None


def read_training_data(recipe: Recipe, root: Path, decode: Decode) -> TrainingData:
    """The recipe's data, from the folder that holds it.

    Args:
        recipe: names the data set and its splits.
        root: the folder of the data set's archives; for `folder` the folder or zip of class folders itself.
        decode: turns a file's bytes into the recipe's input format.

    Raises:
        RecipeError: the data set has no such name.
        DatasetError: it cannot be read.
    """
    if recipe.data not in DATASETS:
        raise RecipeError(f"data is {recipe.data!r}, expected one of {', '.join(DATASETS)}")
    read = DATASETS[recipe.data]
    turned = with_rotations if recipe.rotations else _as_it_is
    if recipe.data == "folder":
        return _held_out(read(root, "train", decode), recipe, turned)
    validation = None
    if recipe.validation is not None:
        validation = turned(read(root, recipe.validation.split, decode))
    return TrainingData(turned(read(root, recipe.split, decode)), validation)


def _held_out(dataset: Dataset, recipe: Recipe, turned: Callable[[Dataset], Dataset]) -> TrainingData:
    """A part of the classes, drawn by the recipe's seed, kept for validation with all their rotations."""
    if recipe.validation is None:
        return TrainingData(turned(dataset))
    order = torch.randperm(dataset.n_classes, generator=torch.Generator().manual_seed(recipe.seed)).tolist()
    n_held_out = round(recipe.held_out * dataset.n_classes)
    validation = with_classes(dataset, sorted(order[:n_held_out]))
    return TrainingData(turned(with_classes(dataset, sorted(order[n_held_out:]))), turned(validation))


def _as_it_is(dataset: Dataset) -> Dataset:
    return dataset
