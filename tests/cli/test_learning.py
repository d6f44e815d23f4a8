import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from service.metalearning.header import read_header
from service.usecases.base_models import BaseModels
from tests.cli.conftest import Handful

RECIPE = """
id = "mine"
purpose = "Tests"
data = "folder"
rotations = true
held_out = 0.34
checkpoint_s = 0.001

[input]
side_px = 8
channels = 1
[scaling]
mean = [0.0]
std = [1.0]
[backbone]
name = "tiny"
[learner]
name = "protonet"
scale = 0.1
[episodes]
n_way = 3
n_shot = 1
n_query = 2
[optimizer]
steps = 40
[augmentation]
shift = 0.1
[validation]
every_steps = 20
episodes = 4
n_way = 2
n_query = 2
[offers.protonet]
[offers.anil]
steps = 2
lr = 0.1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six class folders of six images each, and the recipe beside them."""
    (tmp_path / "mine.toml").write_text(RECIPE)
    for grey in range(6):
        (tmp_path / "images" / f"class{grey}").mkdir(parents=True)
        for index in range(6):
            image = Image.linear_gradient("L").resize((8, 8)).point([(grey * 40 + value) % 256 for value in range(256)])
            image.rotate(index).save(tmp_path / "images" / f"class{grey}" / f"{index}.png")
    return tmp_path


@pytest.fixture
def checkpoint(folder: Path, handful: Handful) -> Path:
    """A base model trained on the folder."""
    handful(*training(folder, "out"))
    return folder / "out" / "mine.safetensors"


def training(folder: Path, out: str) -> list[object]:
    """The command that trains on the folder."""
    return ["meta-train", folder / "mine.toml", "--data", folder / "images", "--out", folder / out, "--threads", 1]


def evaluation(folder: Path, checkpoint: Path) -> list[object]:
    """The command that measures on the folder."""
    where = ["evaluate", checkpoint, "--data", folder / "images", "--threads", 1]
    return [*where, "--ways", "2,3", "--shots", "1", "--queries", 2, "--episodes", 5]


def killed(command: list[object], state: Path) -> int:
    """The exit code of a training process that is killed as soon as it has written a state."""
    arguments = [sys.executable, "-m", "service", *map(str, command)]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    await_file(state)
    process.kill()
    return process.wait()


def interrupt_after(state: Path) -> None:
    """Send this process Ctrl-C once there is a state."""
    await_file(state)
    os.kill(os.getpid(), signal.SIGINT)


def await_file(path: Path) -> None:
    """Return once the file is there, or after a minute and a half."""
    deadline_s = time.monotonic() + 90
    while not path.exists() and time.monotonic() < deadline_s:
        time.sleep(0.002)


def test_meta_train_makes_a_base_model_from_a_folder_of_images(folder: Path, handful: Handful) -> None:
    ran = handful(*training(folder, "out"))

    header = read_header(folder / "out" / "mine.safetensors")
    assert (ran.code, ran.out.strip()) == (0, str(folder / "out" / "mine.safetensors"))
    assert "step 40 of 40: loss" in ran.err
    assert header.provenance["n_classes"] == 16  # two of six classes are held out, each class counts four times
    assert (folder / "out" / "log.csv").read_text().startswith("step,loss,lr,elapsed_s,validation")
    assert [card.id for card in BaseModels([folder / "out"]).items()] == ["mine"]


def test_a_training_that_was_killed_goes_on_to_the_same_bits(folder: Path, handful: Handful) -> None:
    handful(*training(folder, "whole"))

    code = killed(training(folder, "parts"), folder / "parts" / "training.state")
    handful(*training(folder, "parts"))

    whole, parts = (load_file(folder / name / "mine.safetensors") for name in ("whole", "parts"))
    assert code == -signal.SIGKILL
    assert {name: tensor.tolist() for name, tensor in whole.items()} == {
        name: tensor.tolist() for name, tensor in parts.items()
    }


def test_an_interrupted_training_says_how_to_go_on(folder: Path, handful: Handful) -> None:
    threading.Thread(target=interrupt_after, args=[folder / "out" / "training.state"]).start()

    ran = handful(*training(folder, "out"), "--set", "optimizer.steps=100000")

    assert ran.code == 130
    assert "the same command goes on from" in ran.err
    assert (folder / "out" / "training.state").exists()


def test_a_recipe_that_cannot_be_right_is_one_sentence(folder: Path, handful: Handful) -> None:
    ran = handful(*training(folder, "out"), "--set", "episodes.n_way=1")

    assert (ran.code, ran.err) == (1, "handful: episodes.n_way must be at least 2\n")


def test_a_run_of_another_recipe_can_be_restarted(folder: Path, checkpoint: Path, handful: Handful) -> None:
    refused = handful(*training(folder, "out"), "--set", "seed=5")
    restarted = handful(*training(folder, "out"), "--set", "seed=5", "--restart")

    assert refused.code == 1
    assert "belongs to a recipe with another seed" in refused.err
    assert restarted.code == 0


def test_evaluate_prints_the_promised_json(folder: Path, checkpoint: Path, handful: Handful) -> None:
    ran = handful(*evaluation(folder, checkpoint), "--json")

    results = json.loads(ran.out)["results"]
    assert [(row["learner"], row["n_way"], row["n_shot"]) for row in results] == [
        ("protonet", 2, 1),
        ("protonet", 3, 1),
    ]
    assert list(results[0]) == [
        "learner", "n_way", "n_shot", "accuracy", "interval_95", "episodes", "adapt_ms", "inductive",
    ]  # fmt: skip
    assert (results[0]["episodes"], results[0]["inductive"]) == (5, True)


def test_a_transductive_figure_is_labelled_wherever_it_is_printed(
    folder: Path, checkpoint: Path, handful: Handful
) -> None:
    as_json = handful(*evaluation(folder, checkpoint), "--transductive", "--json")
    as_table = handful(*evaluation(folder, checkpoint), "--transductive")

    assert [row["inductive"] for row in json.loads(as_json.out)["results"]] == [False, False]
    assert [line.split("\t")[0] for line in as_table.out.splitlines()] == ["protonet, transductive"] * 2


def test_a_transductive_figure_is_not_put_into_the_checkpoint(folder: Path, checkpoint: Path, handful: Handful) -> None:
    before = checkpoint.read_bytes()
    ran = handful(*evaluation(folder, checkpoint), "--transductive", "--write-figures")

    assert ran.code == 2
    assert checkpoint.read_bytes() == before


def test_evaluate_prints_chance_before_the_first_step(folder: Path, checkpoint: Path, handful: Handful) -> None:
    ran = handful(*evaluation(folder, checkpoint), "--learner", "anil")

    assert [line.split("\t")[-1] for line in ran.out.splitlines()] == ["50.00", "33.33"]


def test_evaluate_measures_every_learner_on_request(folder: Path, checkpoint: Path, handful: Handful) -> None:
    ran = handful(*evaluation(folder, checkpoint), "--learner", "all")

    assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["protonet", "protonet", "anil", "anil"]


def test_evaluate_writes_its_figures_into_the_checkpoint(folder: Path, checkpoint: Path, handful: Handful) -> None:
    ran = handful(*evaluation(folder, checkpoint), "--json", "--write-figures")

    figures = read_header(checkpoint).figures
    results = json.loads(ran.out)["results"]
    assert [figure.accuracy for figure in figures] == [row["accuracy"] for row in results]
    assert figures[0].dataset == "images"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--learner", "maml"], "does not offer learner 'maml'"),
        (["--dataset", "mnist"], "data set 'mnist' is unknown"),
        (["--split", "all"], "split 'all' is unknown"),
        (["--episodes", "5", "--ways", "99"], "classes, need at least 99"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    folder: Path, checkpoint: Path, handful: Handful, arguments: list[str], sentence: str
) -> None:
    ran = handful(*evaluation(folder, checkpoint), *arguments)

    assert ran.code == 1
    assert sentence in ran.err


def test_ways_that_are_no_numbers_are_wrong_usage(folder: Path, checkpoint: Path, handful: Handful) -> None:
    ran = handful(*evaluation(folder, checkpoint), "--ways", "five")

    assert ran.code == 2
    assert "is not a list of positive numbers" in ran.err


PRETRAINING = """
[pretraining]
batch_images = 8
test_images = 2
[pretraining.optimizer]
method = "sgd"
steps = 40
lr = 0.05
momentum = 0.9
"""


def test_pretraining_prints_its_test_accuracy_and_meta_training_starts_from_it(folder: Path, handful: Handful) -> None:
    recipe = folder / "mine.toml"
    recipe.write_text(RECIPE.replace("checkpoint_s", "seed = 1\ncheckpoint_s") + PRETRAINING)

    pretrained = handful("pretrain", recipe, "--data", folder / "images", "--out", folder / "first", "--threads", 1)

    assert "test accuracy" in pretrained.err
    start = folder / "first" / "mine-pretrained.safetensors"
    assert pretrained.out.strip() == str(start)
    handful(*training(folder, "out"), "--start", start)
    assert read_header(folder / "out" / "mine.safetensors").provenance["start"]["id"] == "mine-pretrained"


def test_lakes_runs_are_measured_as_they_are_whatever_ways_are_asked_for(checkpoint: Path, handful: Handful) -> None:
    root = checkpoint.parent
    with zipfile.ZipFile(root / "omniglot_all_runs.zip", "w") as archive:
        for run in ("run01", "run02"):
            archive.writestr(f"{run}/class_labels.txt", lake_answers(run))
            for index in (1, 2):
                for name in (f"test/item0{index}", f"training/class0{index}"):
                    archive.write(root.parent / "images" / f"class{index}" / "0.png", f"{run}/{name}.png")

    ran = handful("evaluate", checkpoint, "--data", root, "--dataset", "omniglot-lake", "--ways", 5, "--json")

    (result,) = json.loads(ran.out)["results"]
    assert (result["n_way"], result["n_shot"], result["episodes"]) == (2, 1, 2)
    assert "a test of 2 fixed episodes, 2-way" in ran.err


def lake_answers(run: str) -> str:
    """The file that says which test drawing shows which training drawing's character."""
    return "".join(f"{run}/test/item0{n}.png {run}/training/class0{n}.png\n" for n in (1, 2))
