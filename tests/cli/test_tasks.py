"""`handful tasks` and `handful predict` against a running service."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
from PIL import Image

from service.cli.uploads import told_if_half_made
from service.client import Client
from tests.cli.conftest import Handful, Ran
from tests.image_factories import saved_zip

GREYS = {"dark": 0, "light": 255}


@pytest.fixture
def remote(handful: Handful, service_url: str) -> Handful:
    """The command `handful`, talking to the running service."""

    def run(*arguments: object) -> Ran:
        return handful("--url", service_url, *arguments)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three plain images each."""
    for label, grey in GREYS.items():
        (tmp_path / "greys" / label).mkdir(parents=True)
        for number in range(3):
            shade = abs(grey - 10 * number)
            Image.new("L", (16, 16), shade).save(tmp_path / "greys" / label / f"{number}.png")
    return tmp_path / "greys"


@pytest.fixture
def name() -> str:
    """A name that no other task has."""
    return f"greys {uuid4()}"


def create(remote: Handful, name: str, folder: Path, *more: object) -> dict[str, Any]:
    ran = remote("tasks", "create", name, "--from", folder, "--base-model", "toy", "--json", *more)
    assert ran.code == 0, ran.err
    task: dict[str, Any] = json.loads(ran.out)
    return task


def test_a_folder_becomes_a_ready_task(remote: Handful, name: str, folder: Path) -> None:
    task = create(remote, name, folder, "--metadata", "line=3")
    assert (task["state"], task["current_version"]) == ("ready", 1)
    assert [(each["label"], each["n_examples"]) for each in task["classes"]] == [("dark", 3), ("light", 3)]
    assert task["metadata"] == {"line": "3"}


def test_a_zip_that_the_page_saved_becomes_the_task_that_it_was(remote: Handful, name: str, tmp_path: Path) -> None:
    saved = saved_zip(tmp_path)
    task = create(remote, name, saved)
    classes = [(each["label"], each["n_examples"], each["is_left_out"]) for each in task["classes"]]
    assert classes == [("dark/grey", 1, False), ("light", 1, False), ("odd", 1, True)]
    assert "3 of 3 images there already" in remote("tasks", "add", name, "--from", saved).err
    assert remote("tasks", "evaluate", name, saved, "--count-unknown").code == 0


def test_a_task_answers_for_files_and_folders(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder)
    ran = remote("predict", name, folder / "dark" / "1.png", folder / "light")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [Path(row[0]).name for row in rows] == ["1.png", "0.png", "1.png", "2.png"]
    assert [row[1] for row in rows] == ["dark", "light", "light", "light"]


def test_predictions_are_csv_on_request(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder)
    (row,) = csv.DictReader(io.StringIO(remote("predict", name, folder / "dark" / "0.png", "--csv").out))
    assert row["label"] == "dark"
    assert float(row["p_dark"]) + float(row["p_light"]) == pytest.approx(1, abs=1e-5)


def test_predictions_are_json_on_request(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder)
    (answer,) = json.loads(remote("predict", name, folder / "dark" / "0.png", "--json", "--top-k", 1).out)
    assert answer["file"] == str(folder / "dark" / "0.png")
    assert [score["label"] for score in answer["scores"]] == ["dark"]


def test_only_images_that_are_missing_are_added(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder)
    Image.new("L", (16, 16), 30).save(folder / "dark" / "3.png")
    ran = remote("tasks", "add", name, "--from", folder, "--json")
    assert "6 of 7 images there already" in ran.err
    assert (json.loads(ran.out)["n_examples"], json.loads(ran.out)["current_version"]) == (7, 2)


def test_adding_nothing_adapts_nothing(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder)
    assert json.loads(remote("tasks", "add", name, "--from", folder, "--json").out)["current_version"] == 1


def test_a_task_is_adapted_again_with_another_learner(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder)
    ran = remote("tasks", "adapt", name, "--learner", "anil", "--steps", 2, "--json")
    assert json.loads(ran.out)["current_version"] == 2
    assert "version 2 is adapted with anil, steps 2" in ran.err


def test_a_prior_is_a_word_or_a_weight_for_each_label(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder, "--prior", "support")
    labels = sorted(path.name for path in folder.iterdir())
    weights = [part for label in labels for part in ("--prior", f"{label}=2.5")]
    assert remote("tasks", "adapt", name, *weights).code == 0
    refused = remote("tasks", "adapt", name, "--prior", f"{labels[0]}=often")
    assert (refused.code, "LABEL=NUMBER" in refused.err) == (2, True)


def test_a_learner_that_is_not_offered_is_a_problem(remote: Handful, name: str, folder: Path) -> None:
    create(remote, name, folder)
    ran = remote("tasks", "adapt", name, "--learner", "oracle")
    assert ran.code == 1
    assert "oracle" in ran.err


def test_tasks_are_listed_shown_and_deleted(remote: Handful, name: str, folder: Path) -> None:
    task = create(remote, name, folder, "--metadata", f"key={name}")
    listed = remote("tasks", "list", "--state", "ready", "--metadata", f"key={name}").out
    assert listed.split("\t")[:3] == [task["id"], name, "ready"]
    assert "dark (3), light (3)" in remote("tasks", "show", task["id"]).out
    assert remote("tasks", "delete", name, "--yes").code == 0
    assert remote("tasks", "show", name).code == 1


def test_a_bad_image_is_named_and_nothing_is_kept(remote: Handful, name: str, folder: Path) -> None:
    (folder / "dark" / "9.png").write_bytes((folder / "dark" / "0.png").read_bytes()[:40])
    ran = remote("tasks", "create", name, "--from", folder, "--base-model", "toy")
    assert ran.code == 1
    assert "dark/9.png" in ran.err
    assert "the task is deleted again" in ran.err
    assert remote("tasks", "show", name).code == 1


def test_a_bad_image_is_left_out_on_request(remote: Handful, name: str, folder: Path) -> None:
    (folder / "dark" / "9.png").write_bytes(b"no image")
    assert create(remote, name, folder, "--skip-bad")["n_examples"] == 6


def test_an_interrupted_upload_says_what_is_kept_and_how_to_go_on(
    service_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(service_url) as client:
        task = client.create_empty_task("interrupted", base_model="toy")
        client.add_examples(task, {"dark": [folder / "dark" / "0.png"]})
        with pytest.raises(typer.Exit) as ended, told_if_half_made(client, task, folder):
            raise KeyboardInterrupt
    told = capsys.readouterr().err
    assert ended.value.exit_code == 130
    assert f"task {task.id} holds 1 image so far" in told
    assert f"handful tasks add {task.id} --from {folder}" in told


def test_an_interrupted_task_is_finished_by_adding_the_same_folder(
    remote: Handful, service_url: str, name: str, folder: Path
) -> None:
    with Client(service_url) as client:
        task = client.create_empty_task(name, base_model="toy")
        client.add_examples(task, {"dark": [folder / "dark" / "0.png"]})
    ran = remote("tasks", "add", name, "--from", folder, "--json")
    assert (json.loads(ran.out)["state"], json.loads(ran.out)["n_examples"]) == ("ready", 6)
