"""A data set, a recipe and a run that take a moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from service.metalearning.datasets import Dataset
from service.metalearning.recipe import Recipe, recipe_from_tables
from service.metalearning.training_data import TrainingData

TABLES: dict[str, Any] = {
    "id": "tiny-model",
    "purpose": "Tests",
    "data": "folder",
    "input": {"side_px": 8, "channels": 1},
    "scaling": {"mean": [0.0], "std": [1.0], "invert": True},
    "backbone": {"name": "tiny", "side_px": 8},
    "learner": {"name": "protonet", "scale": 0.1},
    "episodes": {"n_way": 3, "n_shot": 1, "n_query": 2},
    "optimizer": {"steps": 12, "lr": 0.01, "average_decay": 0.9},
    "augmentation": {"rotation_deg": 10, "shift": 0.1},
    "validation": {"every_steps": 4, "episodes": 4, "n_way": 3, "n_query": 2},
    "offers": {"protonet": {}, "anil": {"steps": 3, "lr": 0.1}},
}


def make_recipe(**changes: object) -> Recipe:
    """The tiny recipe with these keys of its tables, or whole tables with a name, replaced."""
    tables = dict(TABLES)
    for key, value in changes.items():
        added_to = isinstance(value, dict) and "name" not in value and key != "offers"
        tables[key] = {**TABLES.get(key, {}), **value} if isinstance(value, dict) and added_to else value
    return recipe_from_tables(tables)


def make_dataset(n_classes: int = 6, n_images: int = 6, *, seed: int = 0, noise: int = 20) -> Dataset:
    """Classes of 8 px images, each a pattern of its own with noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 236, (n_classes, 1, 1, 8, 8), generator=generator)
    noises = torch.randint(0, noise, (n_classes, n_images, 1, 8, 8), generator=generator)
    images = (patterns + noises).to(torch.uint8).flatten(0, 1)
    rows = torch.arange(n_classes * n_images).view(n_classes, n_images)
    return Dataset("patterns", images, tuple(f"class{index}" for index in range(n_classes)), tuple(rows))


def make_data() -> TrainingData:
    """Classes to train on and others to measure on."""
    return TrainingData(make_dataset(seed=1), make_dataset(seed=2))


def tensors_of(folder: Path, name: str = "tiny-model") -> dict[str, Tensor]:
    """The tensors of the base model that a run left in its folder."""
    return load_file(folder / f"{name}.safetensors")


def are_bit_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two checkpoints hold the same bits under the same names."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stopped_at(*steps: int) -> Callable[[], bool]:
    """What `meta_train` asks after each step: stops when as many steps are done as the first number, and so on."""
    asked = iter(range(1, 1_000_000))
    return lambda: next(asked) in steps
