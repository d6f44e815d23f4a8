import copy
from pathlib import Path
from typing import Any

import pytest

from service.errors import RecipeError
from service.metalearning.recipe import SHIPPED, read_recipe, recipe_from_tables, recipe_to_tables
from tests.metalearning.tiny_training import TABLES


def changed(path: str, value: object) -> dict[str, Any]:
    """The tiny recipe's tables with one key replaced."""
    tables = copy.deepcopy(TABLES)
    table, _, key = path.rpartition(".")
    (tables[table] if table else tables)[key] = value
    return tables


def without(path: str) -> dict[str, Any]:
    """The tiny recipe's tables with one key missing."""
    tables = copy.deepcopy(TABLES)
    table, _, key = path.rpartition(".")
    del (tables[table] if table else tables)[key]
    return tables


def test_a_recipe_takes_its_values_from_the_tables() -> None:
    recipe = recipe_from_tables(TABLES)

    assert recipe.episodes.shape.n_way == 3
    assert recipe.learner.name == "protonet"
    assert recipe.learner.settings == {"scale": 0.1}
    assert recipe.scaling.mean == (0.0,)
    assert recipe.offers["anil"] == {"steps": 3, "lr": 0.1}
    assert recipe.split == "train"


def test_a_name_alone_is_a_backbone_or_learner_with_its_own_settings() -> None:
    recipe = recipe_from_tables(changed("learner", "ridge"))
    assert (recipe.learner.name, recipe.learner.settings) == ("ridge", {})


@pytest.mark.parametrize("backbone", ["torchvision:resnet18", {"name": "torchvision:resnet18"}])
def test_a_frozen_backbone_is_not_meta_trained(backbone: object) -> None:
    with pytest.raises(RecipeError, match="backbone must be one that is trained; `handful make-base-model`"):
        recipe_from_tables(changed("backbone", backbone))


@pytest.mark.parametrize(
    "path", ["id", "backbone", "backbone.name", "episodes.n_way", "optimizer.steps", "input.side_px"]
)
def test_a_missing_key_is_named(path: str) -> None:
    with pytest.raises(RecipeError, match=f"^{path} is missing"):
        recipe_from_tables(without(path))


@pytest.mark.parametrize("path", ["colour", "episodes.n_ways", "optimizer.beta"])
def test_an_unknown_key_is_named(path: str) -> None:
    with pytest.raises(RecipeError, match=f"^{path} is not a key of a recipe"):
        recipe_from_tables(changed(path, 1))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("id", 3, "a text"),
        ("rotations", 1, "true or false"),
        ("episodes", 3, "a table"),
        ("episodes.n_way", 3.5, "an integer"),
        ("optimizer.lr", "fast", "a number"),
        ("optimizer.lr", True, "a number"),
        ("optimizer.schedule", "linear", "'cosine' or 'constant'"),
        ("split", "all", "'train' or 'val' or 'trainval' or 'test'"),
        ("scaling.mean", 0.5, "a list"),
        ("backbone.filters", [4], "a number, a text or true or false"),
        ("offers", [], "a table"),
    ],
)
def test_a_value_of_another_type_is_named(path: str, value: object, expected: str) -> None:
    with pytest.raises(RecipeError, match=f"^{path} is .*, expected {expected}"):
        recipe_from_tables(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", "../elsewhere"),
        ("offers", {}),
        ("held_out", 1.0),
        ("checkpoint_s", 0),
        ("input.channels", 2),
        ("episodes.n_way", 1),
        ("episodes.n_shot", 0),
        ("episodes.tasks_per_step", 0),
        ("optimizer.steps", 0),
        ("optimizer.lr", 0.0),
        ("optimizer.warmup_steps", 100),
        ("optimizer.average_decay", 1.0),
        ("validation.every_steps", 0),
        ("validation.episodes", 1),
    ],
)
def test_a_value_out_of_range_is_named(path: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"^{path} must be"):
        recipe_from_tables(changed(path, value))


def test_means_must_fit_the_channels() -> None:
    with pytest.raises(RecipeError, match="one mean and one std for each channel"):
        recipe_from_tables(changed("scaling.mean", [0.1, 0.2, 0.3]))


def test_the_tables_of_a_recipe_say_all_its_values() -> None:
    tables = recipe_to_tables(recipe_from_tables(TABLES))

    assert tables["optimizer"]["schedule"] == "cosine"
    assert tables["learner"] == {"name": "protonet", "settings": {"scale": 0.1}}


def test_the_shipped_recipe_is_right() -> None:
    recipe = read_recipe("omniglot-conv4")

    assert recipe.id == "omniglot-conv4"
    assert recipe.split == "trainval"
    assert recipe.rotations


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.toml")))
def test_every_shipped_recipe_is_right_and_bears_the_name_of_its_file(name: str) -> None:
    assert read_recipe(name).id == name


def test_a_change_replaces_one_key() -> None:
    recipe = read_recipe("omniglot-conv4", ["optimizer.lr=0.5", 'split="train"'])

    assert (recipe.optimizer.lr, recipe.split) == (0.5, "train")
    assert recipe.optimizer.steps == read_recipe("omniglot-conv4").optimizer.steps


def test_a_recipe_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'mnist'; shipped are .*omniglot-conv4, .*own-images"):
        read_recipe("mnist")


def test_a_file_that_is_not_toml_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("id = ")

    with pytest.raises(RecipeError, match=r"mine.toml is not TOML"):
        read_recipe(str(tmp_path / "mine.toml"))
