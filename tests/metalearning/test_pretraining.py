from pathlib import Path

import pytest
import torch

from service.errors import CheckpointError, DatasetError, RecipeError
from service.metalearning.header import read_header
from service.metalearning.pretraining import pretrain, split_images
from service.metalearning.recipe import Recipe
from service.metalearning.serialization import load_base_model
from service.metalearning.training import meta_train
from service.metalearning.training_data import TrainingData
from service.metalearning.training_run import Progress
from tests.metalearning.tiny_training import (
    TABLES,
    are_bit_equal,
    make_data,
    make_dataset,
    make_recipe,
    stopped_at,
    tensors_of,
)

SGD = {"method": "sgd", "steps": 12, "lr": 0.05, "momentum": 0.9, "average_decay": 0.5}
NAME = "tiny-model-pretrained"


def pretraining_recipe(**changes: object) -> Recipe:
    """The tiny recipe with a table for pre-training."""
    table = {"batch_images": 8, "test_images": 2, "test_every_steps": 5, "optimizer": SGD, **changes}
    return make_recipe(pretraining=table)


def test_pretraining_that_was_stopped_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    pretrain(pretraining_recipe(), make_data(), tmp_path / "whole")

    stopped = pretrain(pretraining_recipe(), make_data(), tmp_path / "parts", is_stopped=stopped_at(7))
    finished = pretrain(pretraining_recipe(), make_data(), tmp_path / "parts")

    assert [stopped.finished, finished.finished] == [False, True]
    assert are_bit_equal(tensors_of(tmp_path / "whole", NAME), tensors_of(tmp_path / "parts", NAME))


def test_pretraining_by_adam_in_bf16_resumes_with_the_same_bits(tmp_path: Path) -> None:
    recipe = pretraining_recipe(optimizer={"steps": 8, "precision": "bf16"})
    pretrain(recipe, make_data(), tmp_path / "whole")

    pretrain(recipe, make_data(), tmp_path / "parts", is_stopped=stopped_at(3))
    pretrain(recipe, make_data(), tmp_path / "parts")

    assert are_bit_equal(tensors_of(tmp_path / "whole", NAME), tensors_of(tmp_path / "parts", NAME))


def test_pretraining_learns_to_name_held_out_images(tmp_path: Path) -> None:
    seen: list[Progress] = []
    recipe = pretraining_recipe(optimizer={"steps": 100, "lr": 0.01}, test_every_steps=50)

    outcome = pretrain(recipe, TrainingData(make_dataset()), tmp_path, on_progress=seen.append)

    assert seen[-1].validation is not None
    assert seen[-1].validation > 80
    provenance = read_header(outcome.path).provenance
    assert provenance["test_accuracy"] == seen[-1].validation
    assert provenance["n_images"] == 24


def test_turned_images_are_classes_of_their_own_where_the_recipe_asks_for_it(tmp_path: Path) -> None:
    outcome = pretrain(pretraining_recipe(rotations=True), make_data(), tmp_path)

    assert read_header(outcome.path).provenance["n_classes"] == 24


def test_a_pretrained_base_model_offers_the_learners_of_its_recipe(tmp_path: Path) -> None:
    base = load_base_model(pretrain(pretraining_recipe(), make_data(), tmp_path).path)

    assert base.header.id == NAME
    assert list(base.header.learners) == list(TABLES["offers"])


def test_meta_training_begins_with_the_pretrained_backbone(tmp_path: Path) -> None:
    path = pretrain(pretraining_recipe(), make_data(), tmp_path / "first").path
    still = make_recipe(optimizer={"steps": 1, "lr": 1e-12, "average_decay": 0})

    begun = meta_train(still, make_data(), tmp_path / "second", start=load_base_model(path))

    name = "backbone.blocks.0.conv.weight"
    torch.testing.assert_close(
        tensors_of(tmp_path / "second")[name], tensors_of(tmp_path / "first", NAME)[name], rtol=0, atol=1e-6
    )
    assert read_header(begun.path).provenance["start"]["id"] == NAME


def test_a_run_with_another_start_is_refused(tmp_path: Path) -> None:
    path = pretrain(pretraining_recipe(), make_data(), tmp_path / "first").path
    meta_train(make_recipe(), make_data(), tmp_path / "second", is_stopped=stopped_at(1))

    with pytest.raises(CheckpointError, match="another start"):
        meta_train(make_recipe(), make_data(), tmp_path / "second", start=load_base_model(path))


def test_a_start_with_another_backbone_is_refused(tmp_path: Path) -> None:
    path = pretrain(pretraining_recipe(), make_data(), tmp_path / "first").path
    wider = make_recipe(backbone={"name": "tiny", "side_px": 8, "filters": 6})

    with pytest.raises(CheckpointError, match="cannot start tiny-model: another backbone"):
        meta_train(wider, make_data(), tmp_path / "second", start=load_base_model(path))


def test_a_recipe_without_pretraining_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no table 'pretraining'"):
        pretrain(make_recipe(), make_data(), tmp_path)


def test_no_image_is_both_trained_and_tested_on() -> None:
    train, test = split_images(make_dataset(), 2)

    assert set(torch.cat(train.rows).tolist()).isdisjoint(torch.cat(test.rows).tolist())
    assert [len(rows) for rows in test.rows] == [2] * 6


def test_a_class_with_too_few_images_to_hold_some_out_is_named() -> None:
    with pytest.raises(DatasetError, match="class 'class0' has 6 images, need more than the 6 held out"):
        split_images(make_dataset(), 6)
