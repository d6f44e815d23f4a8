"""Classes over HTTP: renamed, left out, removed; examples that move."""

import httpx
import pytest

from tests.api.toy_service import create, field, png


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition("/")[2]


def test_a_class_is_left_out_of_the_next_version_and_renamed(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client, n_way=3)['id']}"
    changed = client.patch(f"{address}/classes/top left", json={"label": "north/west", "is_left_out": True})
    version = client.post(f"{address}/adapt", json={"wait": 30}).json()
    answer = client.post(f"{address}/predict", content=png(0)).json()["predictions"][0]
    assert changed.json()["classes"][0] == {"label": "north/west", "n_examples": 3, "is_left_out": True}
    assert version["report"]["left_out"] == ["north/west"]
    assert {score["label"] for score in answer["scores"]} == {"top right", "bottom left"}
    assert client.patch(f"{address}/classes/north%2Fwest", json={"is_left_out": False}).status_code == 200


@pytest.mark.parametrize(
    "body", [{"label": ""}, {"label": "top right"}, {"is_left_out": "yes"}, {"n_examples": 0}, {"label": "x" * 201}]
)
def test_a_class_is_not_changed_to_what_cannot_be(client: httpx.Client, body: dict[str, object]) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    assert problem(client.patch(f"{address}/classes/top left", json=body)) == (422, "invalid-request")
    assert problem(client.patch(f"{address}/classes/none such", json={})) == (404, "class-not-found")


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ([], "", "the body must be a JSON object, in braces"),
        ({"lable": "x"}, "/lable", "there is no such field; did you mean label?"),
        ({"weight": 1}, "/weight", "there is no such field; there is is_left_out, label"),
    ],
)
def test_a_body_that_cannot_be_right_is_told_in_words(
    client: httpx.Client, body: object, pointer: str, detail: str
) -> None:
    response = client.patch(f"/v1/tasks/{create(client)['id']}/classes/top left", json=body)
    assert problem(response) == (422, "invalid-request")
    assert [(each["pointer"], each["detail"]) for each in response.json()["errors"]] == [(pointer, detail)]


@pytest.mark.parametrize("label", [".", " .. "])
def test_no_class_is_called_what_no_address_can_end_in(client: httpx.Client, label: str) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    added = client.post(f"{address}/examples", files=[("files", ("a.png", png(3))), field("labels", label)])
    assert problem(added) == (422, "upload-rejected")
    assert problem(client.patch(f"{address}/classes/top left", json={"label": label})) == (422, "invalid-request")


def test_an_example_moves_to_another_class(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    example = client.get(f"{address}/examples").json()["items"][0]
    moved = client.patch(f"{address}/examples/{example['id']}", json={"label": "top right", "group": "burst"})
    assert (moved.status_code, moved.json()) == (200, example | {"label": "top right", "group": "burst"})
    counts = {each["label"]: each["n_examples"] for each in client.get(address).json()["classes"]}
    assert counts == {"top left": 2, "top right": 4}


@pytest.mark.parametrize("body", [{"label": ""}, {"label": None}, {"group": 3}, {"source": "feedback"}])
def test_an_example_is_not_changed_to_what_cannot_be(client: httpx.Client, body: dict[str, object]) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    example = client.get(f"{address}/examples").json()["items"][0]["id"]
    assert problem(client.patch(f"{address}/examples/{example}", json=body)) == (422, "invalid-request")
    assert problem(client.patch(f"{address}/examples/{address[-36:]}", json={})) == (404, "example-not-found")


@pytest.mark.parametrize("label", ["a/b c", "ü%3", "top left"])
def test_a_class_is_removed_whatever_its_label(client: httpx.Client, label: str) -> None:
    address = f"/v1/tasks/{create(client, n_way=3)['id']}"
    client.post(f"{address}/examples", files=[("files", ("a.png", png(3))), field("labels", label)])
    quoted = httpx.URL("http://x", params={"label": label}).query.decode().removeprefix("label=").replace("+", "%20")
    assert client.delete(f"{address}/classes/{quoted}").status_code == 204
    assert label not in {each["label"] for each in client.get(address).json()["classes"]}
    assert problem(client.delete(f"{address}/classes/{quoted}")) == (404, "class-not-found")
