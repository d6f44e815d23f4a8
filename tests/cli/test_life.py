"""`handful tasks update|remove-class|rename-class|leave-out|take-in|activate|feedback` against a running service."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from tests.cli.conftest import Handful, Ran


@pytest.fixture
def remote(handful: Handful, service_url: str) -> Handful:
    """The command `handful`, talking to the running service."""

    def run(*arguments: object) -> Ran:
        return handful("--url", service_url, *arguments)

    return run


@pytest.fixture
def name(remote: Handful, tmp_path: Path) -> str:
    """A task of two classes, by its name."""
    for label, grey in {"dark": 0, "light": 255}.items():
        (tmp_path / "greys" / label).mkdir(parents=True)
        Image.new("L", (16, 16), grey).save(tmp_path / "greys" / label / "a.png")
    name = f"greys {uuid4()}"
    ran = remote("tasks", "create", name, "--from", tmp_path / "greys", "--base-model", "toy", "--keep-days", "2")
    assert ran.code == 0, ran.err
    return name


def task_of(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    task: dict[str, Any] = json.loads(ran.out)
    return task


def test_a_task_is_changed_where_it_is_said(remote: Handful, name: str) -> None:
    update = ("tasks", "update", name, "--metadata", "line=3", "--threshold", "0.9", "--keep-days", "forever")
    task = task_of(remote(*update, "--json"))
    assert (task["name"], task["metadata"], task["threshold"], task["expires_at"]) == (name, {"line": "3"}, 0.9, None)
    task = task_of(remote("tasks", "update", name, "--drop-metadata", "line", "--threshold", "suggested", "--json"))
    assert (task["metadata"], task["threshold"]) == ({}, None)


def test_an_adaptation_is_followed_and_what_to_label_next_is_told(remote: Handful, name: str, tmp_path: Path) -> None:
    assert remote("tasks", "watch", name).out == "version 1\tready\n"
    ran = remote("tasks", "suggest", name, tmp_path / "greys", "-n", "1")
    assert (ran.code, ran.out.count("\n"), "typical" in ran.out) == (0, 1, True)


def test_a_change_of_nothing_or_to_nonsense_is_wrong_usage(remote: Handful, name: str) -> None:
    assert remote("tasks", "update", name).code == 2
    assert remote("tasks", "update", name, "--threshold", "high").code == 2
    assert remote("tasks", "update", name, "--store", "some").code == 1


def test_a_class_is_added_by_feedback_removed_and_the_first_version_activated(
    remote: Handful, name: str, tmp_path: Path
) -> None:
    Image.new("L", (16, 16), 128).save(tmp_path / "grey.png")
    task = task_of(remote("tasks", "feedback", name, "grey", tmp_path / "grey.png", "--json"))
    assert (task["current_version"], task["n_examples"]) == (2, 3)
    task = task_of(remote("tasks", "remove-class", name, "grey", "--json"))
    assert (task["current_version"], task["n_examples"]) == (3, 2)
    ran = remote("tasks", "activate", name, 1)
    assert (ran.code, "version\t1" in ran.out) == (0, True)


def test_a_class_is_renamed_left_out_and_taken_in_again(remote: Handful, name: str, tmp_path: Path) -> None:
    Image.new("L", (16, 16), 128).save(tmp_path / "grey.png")
    remote("tasks", "feedback", name, "grey", tmp_path / "grey.png", "--no-adapt")
    task = task_of(remote("tasks", "rename-class", name, "grey", "middling", "--no-adapt", "--json"))
    assert (task["current_version"], task["classes"][-1]["label"]) == (1, "middling")
    ran = remote("tasks", "leave-out", name, "middling")
    assert "dark (1), light (1), middling (1, left out)" in ran.out
    assert remote("predict", name, tmp_path / "grey.png", "--csv").out.startswith(
        "file,label,probability,p_dark,p_light\n"
    )
    task = task_of(remote("tasks", "take-in", name, "middling", "--json"))
    assert (task["current_version"], [each["is_left_out"] for each in task["classes"]]) == (3, [False] * 3)
