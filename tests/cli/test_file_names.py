"""Names of files and folders that mean something to a shell, a terminal or a protocol are only names here."""

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Handful

NAMES = ("-rf.png", "--help.png", '"; filename=".png', "x\ny\x1b[31m.png", "%2e%2e.png", os.fsdecode(b"\xff.png"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, grey in (("-rf", 0), ("$(id)", 255)):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number, name in enumerate(NAMES):
            Image.new("L", (8, 8), abs(grey - number)).save(tmp_path / "set" / label / name, "PNG")
    return tmp_path / "set"


def test_a_name_is_only_a_name(handful: Handful, service_url: str, folder: Path, tmp_path: Path) -> None:
    made = handful("--url", service_url, "tasks", "create", "names", "--from", folder, "--base-model", "toy")
    assert made.code == 0, made.err
    assert "-rf (6)" in made.out
    assert "$(id) (6)" in made.out

    told = handful("--url", service_url, "predict", "names", "--", folder)
    assert told.code == 0, told.err
    assert len(told.out.splitlines()) == 12
    assert "\x1b" not in told.out
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_whose_name_is_no_text_is_no_label(handful: Handful, service_url: str, folder: Path) -> None:
    (folder / "-rf").rename(folder / os.fsdecode(b"\xff"))
    told = handful("--url", service_url, "tasks", "create", "bad", "--from", folder, "--base-model", "toy")
    assert told.code == 1
    assert "handful: the label '\\udcff' is no text" in told.err
    assert "the task is deleted again" in told.err
