"""Predictions over HTTP: a raw body or a form, and every mistake told."""

from typing import Any

import httpx
import pytest

from tests.api.toy_service import LABELS, Parts, create, field, png


@pytest.fixture(scope="module")
def address(client: httpx.Client) -> str:
    return f"/v1/tasks/{create(client, n_way=4)['id']}/predict"


def probabilities(prediction: dict[str, Any]) -> dict[str, float]:
    return {score["label"]: score["probability"] for score in prediction["scores"]}


@pytest.mark.parametrize("headers", [{"Content-Type": "image/png"}, {"Content-Type": "application/octet-stream"}, {}])
def test_one_image_is_the_body(client: httpx.Client, address: str, headers: dict[str, str]) -> None:
    response = client.post(address, content=png(2, seed=50), headers=headers)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["task_id"], answer["version"]) == (address.split("/")[3], 1)
    (prediction,) = answer["predictions"]
    assert (prediction["label"], prediction["filename"]) == ("bottom left", None)
    assert prediction["probability"] == prediction["scores"][0]["probability"]
    assert sum(probabilities(prediction).values()) == pytest.approx(1, abs=1e-4)
    assert set(answer["timings_ms"]) >= {"decode", "engine", "total"}


def test_several_images_are_the_files_of_a_form(client: httpx.Client, address: str) -> None:
    parts: Parts = [("files", (f"{index}.png", png(index, seed=60))) for index in (3, 1)]
    predictions = client.post(address, files=parts).json()["predictions"]
    assert [(each["filename"], each["label"]) for each in predictions] == [
        ("3.png", "bottom right"),
        ("1.png", "top right"),
    ]


def test_an_answer_does_not_depend_on_the_images_beside_it(client: httpx.Client, address: str) -> None:
    images = [png(index % 4, seed=70 + index) for index in range(64)]
    together = client.post(address, files=[("files", ("x.png", image)) for image in images]).json()["predictions"]
    alone = client.post(address, content=images[17]).json()["predictions"][0]
    assert probabilities(together[17]) == pytest.approx(probabilities(alone), abs=1e-4)
    assert len(together) == 64


def test_top_k_cuts_the_scores(client: httpx.Client, address: str) -> None:
    (prediction,) = client.post(address, params={"top_k": 2}, content=png(0)).json()["predictions"]
    assert len(prediction["scores"]) == 2
    (prediction,) = client.post(address, params={"top_k": 99}, content=png(0)).json()["predictions"]
    assert {score["label"] for score in prediction["scores"]} == set(LABELS)


def test_an_older_version_can_be_asked(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    client.post(f"{address}/adapt", json={"learner": "protonet"})
    assert client.post(f"{address}/predict", content=png(0)).json()["version"] == 2
    assert client.post(f"{address}/predict", params={"version": 1}, content=png(0)).json()["version"] == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [("top_k=0", 422), ("top_k=x", 422), ("version=0", 422), ("version=2", 404), ("version=99999999999", 422)],
)
def test_a_wrong_parameter_is_told(client: httpx.Client, address: str, query: str, status: int) -> None:
    response = client.post(f"{address}?{query}", content=png(0))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [(b"", 422, "empty-file"), (png(0)[:40], 422, "damaged-image"), (b"<html>", 415, "unsupported-image")],
)
def test_what_is_no_image_is_told(client: httpx.Client, address: str, data: bytes, status: int, code: str) -> None:
    response = client.post(address, content=data, headers={"Content-Type": "image/png"})
    assert response.status_code == status
    assert response.json()["errors"][0]["code"] == code


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_refused(client: httpx.Client, address: str, content_type: str) -> None:
    response = client.post(address, content=png(0), headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["type"]) == (415, "/problems/unsupported-media-type")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([("files", ("x.png", png(0)))] * 65, 413),
        ([("files", ("x.png", png(0))), field("labels", "owl")], 422),
        ([("files", (None, b"a field"))], 422),
        ([("images", ("x.png", png(0)))], 422),
        ([("files", ("", b""))], 422),
    ],
)
def test_a_form_that_cannot_be_right_is_told(client: httpx.Client, address: str, parts: Parts, status: int) -> None:
    response = client.post(address, files=parts)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_the_nearest_examples_are_named_on_request(client: httpx.Client) -> None:
    task = f"/v1/tasks/{create(client, n_way=4)['id']}"
    examples = {item["id"]: item["label"] for item in client.get(f"{task}/examples").json()["items"]}
    (prediction,) = client.post(f"{task}/predict", params={"nearest": 3}, content=png(2, seed=5)).json()["predictions"]
    assert [examples[each["example_id"]] for each in prediction["nearest"]] == [
        each["label"] for each in prediction["nearest"]
    ]
    similarities = [each["similarity"] for each in prediction["nearest"]]
    assert len(similarities) == 3
    assert similarities == sorted(similarities, reverse=True)
    assert prediction["nearest"][0]["label"] == "bottom left"
    assert "nearest" not in client.post(f"{task}/predict", content=png(2)).json()["predictions"][0]


def test_examples_that_cannot_be_compared_are_told(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client, field('learner', 'maml'))['id']}/predict"
    response = client.post(address, params={"nearest": 1}, content=png(0))
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-option")
    assert client.post(address, params={"nearest": 0}, content=png(0)).status_code == 422
