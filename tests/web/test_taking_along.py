"""What the page at `/` gives to take along: the model as a file, the examples, the commands for a terminal."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.api.toy_service import create, png
from tests.web.page import Page

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("-it's $left", "top right")
"""Names of folders that a shell would make something else of."""

_ANSWERED_AT_ONCE = """
const real = window.fetch;
window.fetch = async (address, options) =>
  address.endsWith("format=onnx") ? new Response(`${options.method} ${address}`) : real(address, options);
"""
"""An ONNX file takes a while to make; tests/api/test_exports.py looks into one."""


def downloaded(page: Page, folder: Path, selector: str) -> Path:
    """The file that the browser saves when this is clicked."""
    folder.mkdir()
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    page.click(selector)
    page.wait_for(lambda: [path for path in folder.iterdir() if path.suffix not in {".crdownload", ".tmp"}])
    return next(iter(folder.iterdir()))


def run(command: list[str], folder: Path) -> str:
    """What a command prints that a person pastes into a terminal in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lay_out_pictures(folder: Path) -> None:
    """A picture to ask about, and a folder of pictures for each class."""
    Image.open(io.BytesIO(png(1, seed=7))).save(folder / "picture.jpg")
    for index, label in enumerate(CLASSES):
        (folder / label).mkdir()
        for n in range(2):
            (folder / label / f"{n}.png").write_bytes(png(index, seed=20 + n))


def test_the_examples_can_be_taken_away_as_a_zip(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    page.open(create(client)["id"])
    with zipfile.ZipFile(downloaded(page, tmp_path / "saved", "#save-task")) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[::3] == ["top left/001.png", "top right/001.png"]
        assert archive.read("top right/002.png") == png(1, seed=11)


def test_a_zip_brings_back_what_folders_cannot_say(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    address = f"/v1/tasks/{create(client, n_way=3)['id']}"
    client.patch(f"{address}/classes/top left", json={"label": "a/b", "is_left_out": True})
    client.patch(f"{address}/classes/top right", json={"label": ".a_b"})
    first = client.get(f"{address}/examples").json()["items"][0]
    client.patch(f"{address}/examples/{first['id']}", json={"group": "burst"})
    page.open(address.rpartition("/")[2])
    saved = downloaded(page, tmp_path / "saved", "#save-task")

    page.open()
    page.find("#choose-zip").send_keys(str(saved))
    page.wait_for(lambda: page.all(".class.is-left-out"))
    made = client.get("/v1/tasks?limit=1").json()["items"][0]
    counts = {each["label"]: (each["n_examples"], each["is_left_out"]) for each in made["classes"]}
    groups = [each["group"] for each in client.get(f"/v1/tasks/{made['id']}/examples").json()["items"]]
    assert f"/v1/tasks/{made['id']}" != address
    assert counts == {"a/b": (3, True), ".a_b": (3, False), "bottom left": (3, False)}
    assert sorted(filter(None, groups)) == ["burst"]


def test_the_answering_version_is_exported_in_both_formats(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    task = create(client)
    client.patch(f"/v1/tasks/{task['id']}", json={"name": "two corners"})
    page.open(task["id"])
    head = downloaded(page, tmp_path / "safetensors", "[data-format=safetensors]")
    page.script(_ANSWERED_AT_ONCE)
    model = downloaded(page, tmp_path / "onnx", "[data-format=onnx]")
    assert (head.name, model.name) == ("two-corners-1.safetensors", "two-corners-1.onnx")
    assert head.read_bytes() == client.get(f"/v1/tasks/{task['id']}/export?format=safetensors").content
    assert model.read_text() == f"GET /v1/tasks/{task['id']}/export?format=onnx"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_page_do_what_it_says_when_pasted(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    task = create(client)
    client.patch(f"/v1/tasks/{task['id']}", json={"name": "@home, it's"})
    client.patch(f"/v1/tasks/{task['id']}/classes/top left", json={"label": CLASSES[0]})
    page.open(task["id"])
    page.click("#code summary")
    ask_shell, ask_python, make_shell, make_python = page.texts("#snippets pre")
    lay_out_pictures(tmp_path)

    assert '"label":"top right"' in run(["bash", "-euc", ask_shell], tmp_path)
    assert run([sys.executable, "-c", ask_python], tmp_path).startswith("top right ")
    by_shell = json.loads(run(["bash", "-euc", make_shell], tmp_path))
    made = client.get(f"/v1/tasks/{run([sys.executable, '-c', make_python], tmp_path).strip()}").json()

    assert (made["state"], made["base_model"], made["name"]) == ("ready", "toy", "@home, it's")
    assert [(each["label"], each["n_examples"]) for each in made["classes"]] == [(label, 2) for label in CLASSES]
    assert {name: by_shell[name] for name in ("state", "base_model", "name", "classes")} == {
        name: made[name] for name in ("state", "base_model", "name", "classes")
    }
