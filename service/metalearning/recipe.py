"""A recipe: everything that decides how a base model is meta-trained, read from a TOML file and checked.

The recipes that Handful ships lie in `recipes/`; a user's own is any TOML file of the same form.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from service.errors import RecipeError
from service.metalearning.augmentation import AugmentationSettings
from service.metalearning.datasets import Split
from service.metalearning.header import TORCHVISION, InputFormat, PixelScaling, Setting
from service.metalearning.learners.base import Precision
from service.metalearning.recipe_tables import Named, from_table
from service.metalearning.sampling import EpisodeShape

SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class EpisodeSettings:
    """Shape of the training episodes, and how many make one step.

    Attributes:
        within_group: share of the episodes whose classes come from one group, as far as it has enough: one
            alphabet, say, at one rotation.
    """

    n_way: int
    n_shot: int
    n_query: int
    tasks_per_step: int = 1
    within_group: float = 0.0

    @property
    def shape(self) -> EpisodeShape:
        """The sizes of one episode."""
        return EpisodeShape(self.n_way, self.n_shot, self.n_query)


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """Adam (Kingma and Ba 2015) or SGD, and what is done with its steps.

    Attributes:
        momentum: of `sgd`; adam has its own.
        warmup_steps: steps over which lr rises from zero.
        schedule: `cosine` lets lr fall to zero over the steps, `constant` leaves it.
        average_decay: of the running average of the weights that is kept as the result; 0 keeps the last weights.
        precision: of the backbone's arithmetic in training; `bf16` is up to twice as fast where the processor or
            the card has it. Weights, features, head and loss are fp32 in any case.
    """

    steps: int
    method: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.0
    lr: float = 1e-3
    warmup_steps: int = 0
    schedule: Literal["cosine", "constant"] = "cosine"
    average_decay: float = 0.0
    weight_decay: float = 0.0
    precision: Precision = "fp32"


@dataclass(frozen=True, slots=True)
class PretrainingSettings:
    """Supervised training of the backbone on the training classes, before meta-training or instead of it.

    Attributes:
        batch_images: images of a step.
        test_images: of each class, held out; the test accuracy is theirs.
        test_every_steps: how often it is measured.
        rotations: whether turned images are classes of their own: self-supervision, as in Gidaris et al. 2019
            (arXiv:1906.05186), here by one softmax over class and rotation.
        label_smoothing: share of the target that is spread over all classes.
    """

    optimizer: OptimizerSettings
    batch_images: int
    test_images: int
    test_every_steps: int = 1000
    rotations: bool = False
    label_smoothing: float = 0.0


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """How the network is measured meanwhile, and which of its states is the result.

    Attributes:
        split: classes to measure on; those of a folder are `held_out` from training.
        choose: `best`: the state with the best accuracy on them; `final`: the last, measured all the same.
    """

    every_steps: int
    split: Split = "val"
    episodes: int = 200
    n_way: int = 5
    n_shot: int = 1
    n_query: int = 15
    choose: Literal["best", "final"] = "final"

    @property
    def shape(self) -> EpisodeShape:
        """The sizes of one episode."""
        return EpisodeShape(self.n_way, self.n_shot, self.n_query)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to meta-train one base model.

    Attributes:
        id, purpose, suits: go into the header of the base model.
        data: one of `datasets.DATASETS`; `folder` is a user's own folder or zip of class folders.
        rotations: whether each class turned by 90, 180 and 270 degrees is a class of its own.
        held_out: part of a folder's classes that is kept for validation.
        offers: learners that the base model offers, with their settings; the first is the default.
        pretraining: how `pretrain` trains the backbone.
        checkpoint_s: seconds between two writings of the training state.
    """

    id: str
    purpose: str
    data: str
    input: InputFormat
    scaling: PixelScaling
    backbone: Named
    learner: Named
    episodes: EpisodeSettings
    optimizer: OptimizerSettings
    offers: Mapping[str, Mapping[str, Setting]]
    suits: Literal["drawings", "photographs"] = "drawings"
    split: Split = "train"
    rotations: bool = False
    held_out: float = 0.2
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    validation: ValidationSettings | None = None
    pretraining: PretrainingSettings | None = None
    checkpoint_s: float = 60.0
    seed: int = 0


def read_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by its name, or any by the path of its file.

    Args:
        name: `omniglot-conv4`, or a path that ends in .toml.
        changes: assignments in TOML that replace keys of the file: `optimizer.steps=100`.

    Raises:
        RecipeError: there is no such recipe, or a key is missing, unknown or cannot be right.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise RecipeError(f"there is no recipe {name!r}; shipped are {shipped}, or give the path of a .toml file")
    tables = _parsed(path.read_text(encoding="utf-8"), path.name)
    for change in changes:
        _overlay(tables, _parsed(change, change))
    return recipe_from_tables(tables)


def recipe_from_tables(tables: Mapping[str, Any]) -> Recipe:
    """The recipe that these TOML tables describe.

    Raises:
        RecipeError: names the key that is missing, unknown or cannot be right.
    """
    recipe = from_table(Recipe, tables)
    for key, holds, expected in _rules(recipe):
        if not holds:
            raise RecipeError(f"{key} must be {expected}")
    return recipe


def recipe_to_tables(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain tables, for headers and for comparing."""
    return dataclasses.asdict(recipe)


def _rules(recipe: Recipe) -> Iterator[tuple[str, bool, str]]:
    """Each rule that types do not say: key, whether it holds, what is expected."""
    episodes = recipe.episodes
    yield "id", bool(recipe.id) and recipe.id == Path(recipe.id).name, "a name without slashes"
    is_frozen = recipe.backbone.name.startswith(TORCHVISION)
    yield "backbone", not is_frozen, "one that is trained; `handful make-base-model` takes a frozen one of torchvision"
    yield "offers", bool(recipe.offers), "at least one learner"
    yield "held_out", 0 <= recipe.held_out < 1, "at least 0 and below 1"
    yield "checkpoint_s", recipe.checkpoint_s > 0, "above 0"
    yield "input.side_px", recipe.input.side_px >= 1, "at least 1"
    yield "input.channels", recipe.input.channels in {1, 3}, "1 or 3"
    n_channels = {len(recipe.scaling.mean), len(recipe.scaling.std)}
    yield "scaling", n_channels == {recipe.input.channels}, "one mean and one std for each channel"
    yield from _shape_rules("episodes", episodes.shape)
    yield "episodes.tasks_per_step", episodes.tasks_per_step >= 1, "at least 1"
    yield "episodes.within_group", 0 <= episodes.within_group <= 1, "between 0 and 1"
    yield from _optimizer_rules("optimizer", recipe.optimizer)
    if recipe.pretraining is not None:
        yield from _pretraining_rules(recipe.pretraining)
    if recipe.validation is not None:
        yield from _shape_rules("validation", recipe.validation.shape)
        yield "validation.every_steps", recipe.validation.every_steps >= 1, "at least 1"
        yield "validation.episodes", recipe.validation.episodes >= 2, "at least 2"


def _optimizer_rules(table: str, optimizer: OptimizerSettings) -> Iterator[tuple[str, bool, str]]:
    yield f"{table}.steps", optimizer.steps >= 1, "at least 1"
    yield f"{table}.lr", optimizer.lr > 0, "above 0"
    yield f"{table}.momentum", 0 <= optimizer.momentum < 1, "at least 0 and below 1"
    yield f"{table}.warmup_steps", 0 <= optimizer.warmup_steps <= optimizer.steps, f"between 0 and {table}.steps"
    yield f"{table}.average_decay", 0 <= optimizer.average_decay < 1, "at least 0 and below 1"
    yield f"{table}.weight_decay", optimizer.weight_decay >= 0, "at least 0"


def _pretraining_rules(settings: PretrainingSettings) -> Iterator[tuple[str, bool, str]]:
    yield from _optimizer_rules("pretraining.optimizer", settings.optimizer)
    yield "pretraining.batch_images", settings.batch_images >= 2, "at least 2"
    yield "pretraining.test_images", settings.test_images >= 1, "at least 1"
    yield "pretraining.test_every_steps", settings.test_every_steps >= 1, "at least 1"
    yield "pretraining.label_smoothing", 0 <= settings.label_smoothing < 1, "at least 0 and below 1"


def _shape_rules(table: str, shape: EpisodeShape) -> Iterator[tuple[str, bool, str]]:
    yield f"{table}.n_way", shape.n_way >= 2, "at least 2"
    yield f"{table}.n_shot", shape.n_shot >= 1, "at least 1"
    yield f"{table}.n_query", shape.n_query >= 1, "at least 1"


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not TOML: {error}") from error


def _overlay(tables: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put the changes into the tables."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(tables.get(key), dict):
            _overlay(tables[key], value)
        else:
            tables[key] = value
