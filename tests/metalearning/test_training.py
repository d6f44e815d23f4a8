import csv
from pathlib import Path

import pytest
import torch

from service.errors import CheckpointError, DatasetError
from service.metalearning.header import read_header
from service.metalearning.recipe import OptimizerSettings
from service.metalearning.serialization import load_base_model
from service.metalearning.training import LOG_EVERY_STEPS, Progress, learning_rate, meta_train
from service.metalearning.training_data import TrainingData
from tests.metalearning.tiny_training import (
    are_bit_equal,
    make_data,
    make_dataset,
    make_recipe,
    stopped_at,
    tensors_of,
)


def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    meta_train(make_recipe(), make_data(), tmp_path / "whole")

    stopped = meta_train(make_recipe(), make_data(), tmp_path / "parts", is_stopped=stopped_at(5))
    again = meta_train(make_recipe(), make_data(), tmp_path / "parts", is_stopped=stopped_at(3))
    finished = meta_train(make_recipe(), make_data(), tmp_path / "parts")

    assert [stopped.finished, again.finished, finished.finished] == [False, False, True]
    assert are_bit_equal(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts"))


def test_a_run_that_lost_its_last_steps_ends_with_the_same_bits(tmp_path: Path) -> None:
    meta_train(make_recipe(), make_data(), tmp_path / "whole")
    state = tmp_path / "parts" / "training.state"
    meta_train(make_recipe(), make_data(), tmp_path / "parts", is_stopped=stopped_at(3))
    early = state.read_bytes()
    meta_train(make_recipe(), make_data(), tmp_path / "parts", is_stopped=stopped_at(6))

    state.write_bytes(early)
    (tmp_path / "parts" / "training.writing").write_bytes(b"half a state")
    meta_train(make_recipe(), make_data(), tmp_path / "parts")

    assert are_bit_equal(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts"))


def test_a_gradient_learner_resumes_with_the_same_bits(tmp_path: Path) -> None:
    recipe = make_recipe(
        learner={"name": "maml", "steps": 2, "lr": 0.1},
        backbone={"statistics": "support"},
        episodes={"tasks_per_step": 2},
    )
    meta_train(recipe, make_data(), tmp_path / "whole")

    meta_train(recipe, make_data(), tmp_path / "parts", is_stopped=stopped_at(7))
    meta_train(recipe, make_data(), tmp_path / "parts")

    assert are_bit_equal(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts"))


def test_learned_rates_are_trained_resumed_and_kept_in_the_checkpoint(tmp_path: Path) -> None:
    settings = {"name": "maml++", "steps": 2, "lr": 0.1, "multi_step_until": 6, "first_order_until": 4}
    recipe = make_recipe(learner=settings, offers={"maml++": {"multi_step_until": 0}})
    whole = meta_train(recipe, make_data(), tmp_path / "whole").path

    meta_train(recipe, make_data(), tmp_path / "parts", is_stopped=stopped_at(5))
    meta_train(recipe, make_data(), tmp_path / "parts")

    assert are_bit_equal(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "parts"))
    learned = load_base_model(whole).learner("maml++", steps=9).learned()
    assert {tuple(factors.shape) for factors in learned.values()} == {(2,)}
    # The bias of a zero head has no gradient in the first step, and so its rate there has none.
    assert all(bool((factors != 1)[1:].all()) for factors in learned.values())


def test_rates_are_not_kept_for_learners_that_are_not_offered(tmp_path: Path) -> None:
    recipe = make_recipe(learner={"name": "meta-sgd", "lr": 0.1}, offers={"ridge": {}})
    assert load_base_model(meta_train(recipe, make_data(), tmp_path).path).learned == {}


def test_the_seed_decides_the_result(tmp_path: Path) -> None:
    meta_train(make_recipe(seed=1), make_data(), tmp_path / "one")
    meta_train(make_recipe(seed=1), make_data(), tmp_path / "same")
    meta_train(make_recipe(seed=2), make_data(), tmp_path / "other")

    assert are_bit_equal(tensors_of(tmp_path / "one"), tensors_of(tmp_path / "same"))
    assert not are_bit_equal(tensors_of(tmp_path / "one"), tensors_of(tmp_path / "other"))


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()

    meta_train(make_recipe(), make_data(), tmp_path)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_loss_falls(tmp_path: Path) -> None:
    seen: list[Progress] = []
    recipe = make_recipe(optimizer={"steps": 2 * LOG_EVERY_STEPS}, augmentation={"rotation_deg": 0, "shift": 0})

    meta_train(recipe, TrainingData(make_dataset()), tmp_path, on_progress=seen.append)

    assert [progress.step for progress in seen] == [50, 100]
    assert seen[-1].loss < 0.5 * seen[0].loss
    assert seen[-1].remaining_s == 0


def test_the_log_of_a_resumed_run_has_each_line_once(tmp_path: Path) -> None:
    recipe = make_recipe(optimizer={"steps": 150}, validation={"every_steps": 100})
    meta_train(recipe, make_data(), tmp_path, is_stopped=stopped_at(120))
    meta_train(recipe, make_data(), tmp_path)

    with (tmp_path / "log.csv").open() as file:
        lines = list(csv.DictReader(file))

    assert [line["step"] for line in lines] == ["50", "100", "150"]
    assert [bool(line["validation"]) for line in lines] == [False, True, False]


def test_the_header_says_what_the_model_is_and_where_it_comes_from(tmp_path: Path) -> None:
    outcome = meta_train(make_recipe(), make_data(), tmp_path)

    header = read_header(outcome.path)

    assert header.id == "tiny-model"
    assert header.default_learner == "protonet"
    assert {name: offer.adapts for name, offer in header.learners.items()} == {"protonet": "head", "anil": "head"}
    assert header.provenance["n_classes"] == 6
    assert header.provenance["n_images"] == 36
    assert header.provenance["recipe"]["optimizer"]["lr"] == 0.01
    assert [entry["step"] for entry in header.provenance["validations"]] == [4, 8, 12]


def test_the_trained_scale_is_offered_unless_the_recipe_names_one(tmp_path: Path) -> None:
    learned = read_header(meta_train(make_recipe(), make_data(), tmp_path / "learned").path)
    given = read_header(
        meta_train(make_recipe(offers={"protonet": {"scale": 0.5}}), make_data(), tmp_path / "given").path
    )

    assert 0.05 < float(learned.learners["protonet"].settings["scale"]) < 0.2
    assert learned.learners["protonet"].settings["scale"] != 0.1
    assert given.learners["protonet"].settings["scale"] == 0.5


def test_a_running_average_of_the_weights_is_the_result(tmp_path: Path) -> None:
    meta_train(make_recipe(optimizer={"average_decay": 0.9}), make_data(), tmp_path / "average")
    meta_train(make_recipe(optimizer={"average_decay": 0.0}), make_data(), tmp_path / "last")

    name = "backbone.blocks.0.conv.weight"
    assert not torch.equal(tensors_of(tmp_path / "average")[name], tensors_of(tmp_path / "last")[name])


def test_normalisation_statistics_belong_to_the_averaged_weights(tmp_path: Path) -> None:
    outcome = meta_train(make_recipe(), make_data(), tmp_path)
    network = load_base_model(outcome.path).network
    pixels = 1 - make_data().train.images.float() / 255

    maps = torch.nn.functional.conv2d(
        pixels, network.get_parameter("backbone.blocks.0.conv.weight"), stride=2, padding=1
    )

    torch.testing.assert_close(
        network.get_buffer("backbone.blocks.0.normalisation.mean"), maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5
    )


def test_the_best_weights_by_validation_are_kept_where_the_recipe_asks_for_them(tmp_path: Path) -> None:
    recipe = make_recipe(optimizer={"lr": 1e-9}, validation={"choose": "best"})
    outcome = meta_train(recipe, make_data(), tmp_path)

    accuracies = [entry["accuracy"] for entry in read_header(outcome.path).provenance["validations"]]

    assert len(accuracies) == 3


def test_a_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    meta_train(make_recipe(), make_data(), tmp_path, is_stopped=stopped_at(2))

    with pytest.raises(CheckpointError, match=r"another recipe|recipe with another optimizer"):
        meta_train(make_recipe(optimizer={"lr": 0.5}), make_data(), tmp_path)


def test_a_finished_run_takes_other_offers_without_training_again(tmp_path: Path) -> None:
    meta_train(make_recipe(), make_data(), tmp_path)
    weights = tensors_of(tmp_path)

    outcome = meta_train(make_recipe(offers={"ridge": {"penalty": 3.0}}), make_data(), tmp_path)

    assert read_header(outcome.path).learners["ridge"].settings == {"penalty": 3.0}
    assert are_bit_equal(weights, tensors_of(tmp_path))


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "training.state").write_bytes(b"damaged")

    with pytest.raises(CheckpointError, match="not a training state"):
        meta_train(make_recipe(), make_data(), tmp_path)


def test_a_data_set_too_small_for_the_episodes_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has 2 classes, need at least 3"):
        meta_train(make_recipe(), TrainingData(make_dataset(n_classes=2)), tmp_path)


def test_the_learning_rate_rises_and_falls() -> None:
    settings = OptimizerSettings(steps=100, lr=1.0, warmup_steps=10)

    assert learning_rate(settings, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 50) == pytest.approx(0.5)
    assert learning_rate(settings, 99) == pytest.approx(0.0, abs=1e-3)


def test_a_constant_learning_rate_stays() -> None:
    assert learning_rate(OptimizerSettings(steps=100, lr=0.3, schedule="constant"), 99) == 0.3


def test_training_in_bf16_resumes_with_the_same_bits_and_keeps_float_weights(tmp_path: Path) -> None:
    recipe = make_recipe(optimizer={"precision": "bf16"}, episodes={"within_group": 0.5})
    meta_train(recipe, make_data(), tmp_path / "whole")

    meta_train(recipe, make_data(), tmp_path / "parts", is_stopped=stopped_at(7))
    meta_train(recipe, make_data(), tmp_path / "parts")

    whole = tensors_of(tmp_path / "whole")
    assert are_bit_equal(whole, tensors_of(tmp_path / "parts"))
    assert {tensor.dtype for tensor in whole.values()} == {torch.float32}


def test_a_run_leaves_its_learning_curve(tmp_path: Path) -> None:
    meta_train(make_recipe(), make_data(), tmp_path)

    assert "Learning curve of tiny-model" in (tmp_path / "learning-curve.svg").read_text()
