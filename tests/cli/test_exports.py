"""`handful tasks export` against a running service; README's own commands export ONNX."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image
from safetensors.numpy import load_file

from service.client import Client
from tests.cli.conftest import Handful, Ran
from tests.image_factories import encoded


@pytest.fixture
def remote(handful: Handful, service_url: str) -> Handful:
    """The command `handful`, talking to the running service."""

    def run(*arguments: object) -> Ran:
        return handful("--url", service_url, *arguments)

    return run


@pytest.fixture
def task(service_url: str) -> str:
    """The id of a task that tells dark from light."""
    examples = {
        label: [encoded(Image.new("L", (16, 16), grey), "PNG")] for label, grey in (("dark", 0), ("light", 255))
    }
    with Client(service_url) as client:
        return client.create_task(str(uuid4()), examples, base_model="toy", wait_s=60).id


def test_a_task_model_is_written_to_a_file(remote: Handful, task: str, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    ran = remote("tasks", "export", task, "--format", "safetensors", "--out", out, "--json")
    assert json.loads(ran.out) == {"file": str(out), "size_bytes": out.stat().st_size}
    assert load_file(out).keys() == {"head.weight", "head.bias"}


def test_a_file_that_is_there_is_kept(remote: Handful, task: str, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    out.write_bytes(b"mine")
    ran = remote("tasks", "export", task, "--format", "safetensors", "--out", out)
    assert (ran.code, out.read_bytes()) == (1, b"mine")
    assert "--force" in ran.err
    assert remote("tasks", "export", task, "--format", "safetensors", "--out", out, "--force").code == 0
    assert out.read_bytes() != b"mine"


def test_what_cannot_be_exported_leaves_no_file(remote: Handful, task: str, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    assert remote("tasks", "export", task, "--version", 9, "--out", out).code == 1
    assert remote("tasks", "export", task, "--format", "tflite", "--out", out).code == 2
    assert not out.exists()
