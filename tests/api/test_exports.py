"""Exports over HTTP: both formats, their names and metadata, and every mistake told."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import load

from service.engine.inline import InlineEngine
from tests.api.toy_service import LABELS, create, field, make_settings, png, ready_client, serving
from tests.engine.toy_tasks import toy_images


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8 : 8 + size])["__metadata__"]
    return found


@pytest.mark.timeout(300)  # the process yields to whatever else the machine does
def test_an_onnx_file_gives_the_answers_of_the_service(client: httpx.Client) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    task = f"/v1/tasks/{create(client, field('name', 'Möwen / Kräne'))['id']}"

    response = client.get(f"{task}/export", params={"format": "onnx"}, timeout=250)

    assert (response.status_code, response.headers["content-type"]) == (200, "application/octet-stream")
    named = response.headers["content-disposition"]
    assert named == "attachment; filename=\"M-wen-Kr-ne-1.onnx\"; filename*=UTF-8''M%C3%B6wen-Kr%C3%A4ne-1.onnx"
    session = runtime.InferenceSession(response.content)
    about = session.get_modelmeta().custom_metadata_map
    labels = json.loads(about["labels"])
    (probabilities,) = session.run(None, {"pixels": toy_images([1], seed=5)})
    (answer,) = client.post(f"{task}/predict", content=png(1, seed=5)).json()["predictions"]
    expected = {score["label"]: score["probability"] for score in answer["scores"]}
    assert dict(zip(labels, probabilities[0].tolist(), strict=True)) == pytest.approx(expected, abs=1e-4)
    assert (about["base_model"], about["licence"], about["version"]) == ("toy", "MIT", "1")
    assert json.loads(about["input"]) == {
        "side_px": 8,
        "channels": 1,
        "fit": "pad",
        "resampling": "bilinear",
        "ink": False,
        "layout": "NCHW",
        "dtype": "uint8",
    }
    assert client.get(f"{task}/export").content == response.content


@pytest.mark.timeout(300)
def test_a_file_that_was_swept_is_made_again_for_all_who_ask_at_once(toy_folder: Path, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, base_models_dir=toy_folder)
    artifacts = settings.data_dir / "artifacts"
    engine = InlineEngine(base_model_files=[toy_folder / "toy.safetensors"], artifacts_root=artifacts, device="cpu")
    with serving(settings, engine) as url, ready_client(url) as client:
        address = f"/v1/tasks/{create(client)['id']}/export"
        made = client.get(address, timeout=250).content
        digest = hashlib.sha256(made).hexdigest()
        (artifacts / digest[:2] / digest).unlink()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.get(address, timeout=250), range(8)))
    assert [(answer.status_code, answer.content == made) for answer in answers] == [(200, True)] * 8


def test_a_safetensors_file_has_the_task_parameters(client: httpx.Client) -> None:
    task = create(client, field("learner", "protonet"))
    version = client.get(f"/v1/tasks/{task['id']}/versions/1").json()
    response = client.get(f"/v1/tasks/{task['id']}/export", params={"format": "safetensors"})
    tensors, about = load(response.content), metadata_of(response.content)
    assert tensors.keys() == {"head.weight", "head.bias"}
    assert np.isfinite(tensors["head.weight"]).all()
    assert json.loads(about["labels"]) == list(LABELS[:2])
    assert (about["learner"], about["task_id"]) == ("protonet", task["id"])
    assert about["base_model_digest"] == version["base_model_digest"]
    assert response.headers["content-disposition"].startswith(f'attachment; filename="{task["id"]}-1.safetensors"')


def test_a_version_can_be_chosen(client: httpx.Client) -> None:
    task = f"/v1/tasks/{create(client)['id']}"
    client.post(f"{task}/adapt", json={"learner": "maml"})
    files = [client.get(f"{task}/export?format=safetensors{more}").content for more in ("", "&version=1")]
    assert [metadata_of(file)["learner"] for file in files] == ["maml", "ridge"]
    assert "backbone.blocks.0.conv.weight" in load(files[0])


@pytest.mark.parametrize(
    ("query", "status"), [("format=tflite", 422), ("version=0", 422), ("version=x", 422), ("version=9", 404)]
)
def test_a_wrong_parameter_is_told(client: httpx.Client, query: str, status: int) -> None:
    response = client.get(f"/v1/tasks/{create(client)['id']}/export?{query}")
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


def test_what_cannot_answer_cannot_be_exported(client: httpx.Client) -> None:
    empty = client.post("/v1/tasks", json={"name": "empty"}).json()["id"]
    assert client.get(f"/v1/tasks/{empty}/export").json()["type"] == "/problems/task-not-ready"
    assert client.get("/v1/tasks/0194c9b2-e6c7-7a0b-8b1e-3f6d5c2a9e10/export").status_code == 404
    assert client.get("/v1/tasks/owl/export").status_code == 404
