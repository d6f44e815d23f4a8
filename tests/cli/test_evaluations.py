"""`handful tasks evaluate` against a running service."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image

from service.client import Client
from tests.cli.conftest import Handful, Ran


@pytest.fixture
def remote(handful: Handful, service_url: str) -> Handful:
    """The command `handful`, talking to the running service."""

    def run(*arguments: object) -> Ran:
        return handful("--url", service_url, *arguments)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dark and light images; one of the light ones is as dark as can be."""
    for label, greys in {"dark": (0, 20), "light": (255, 0)}.items():
        (tmp_path / label).mkdir()
        for grey in greys:
            Image.new("L", (16, 16), grey).save(tmp_path / label / f"{grey}.png")
    return tmp_path


@pytest.fixture
def task(service_url: str, folder: Path) -> str:
    """The id of a task that tells dark from light."""
    examples = {"dark": [folder / "dark" / "0.png"], "light": [folder / "light" / "255.png"]}
    with Client(service_url) as client:
        return client.create_task(str(uuid4()), examples, base_model="toy", wait_s=60).id


def test_figures_are_a_table(remote: Handful, task: str, folder: Path) -> None:
    ran = remote("tasks", "evaluate", task, folder)
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert ["accuracy", "0.7500 (0.3006 to 0.9544)"] in rows
    assert ["class", "dark", "2", "0.6667", "1.0000", "0.8000"] in rows
    assert ["called", "light", "1", "1"] in rows
    assert ["threshold", "0.0000", "1.0000", "0.7500", "-"] in rows


def test_figures_are_json_on_request(remote: Handful, task: str, folder: Path) -> None:
    found = json.loads(remote("tasks", "evaluate", task, folder, "--json", "--version", 1).out)
    assert (found["accuracy"], found["confusion"]) == (0.75, [[2, 0], [1, 1]])


def test_other_classes_are_refused_or_counted(remote: Handful, task: str, folder: Path) -> None:
    (folder / "owl").mkdir()
    Image.new("L", (16, 16), 128).save(folder / "owl" / "1.png")
    refused = remote("tasks", "evaluate", task, folder)
    assert refused.code == 1
    assert "owl/1.png: version 1 has no class 'owl'" in refused.err
    assert "unknown AUROC" in remote("tasks", "evaluate", task, folder, "--count-unknown").out


def test_a_bad_image_is_named_or_left_out(remote: Handful, task: str, folder: Path) -> None:
    (folder / "dark" / "bad.png").write_bytes(b"no image")
    assert "dark/bad.png" in remote("tasks", "evaluate", task, folder).err
    ran = remote("tasks", "evaluate", task, folder, "--skip-bad", "--json")
    assert (ran.code, json.loads(ran.out)["n_images"]) == (0, 4)


def test_a_task_that_is_none_is_a_problem(remote: Handful, folder: Path) -> None:
    assert remote("tasks", "evaluate", "no such task", folder).code == 1
    assert remote("tasks", "evaluate", "no such task", folder / "nowhere").code == 2


def test_predictions_name_the_nearest_examples(remote: Handful, task: str, folder: Path) -> None:
    ran = remote("predict", task, folder / "dark" / "20.png", "--nearest", 1)
    assert ran.out.split("\t")[-1].startswith("dark ")
    (answer,) = json.loads(remote("predict", task, folder / "dark" / "20.png", "--nearest", 2, "--json").out)
    assert [each["label"] for each in answer["nearest"]] == ["dark", "light"]
