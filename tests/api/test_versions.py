"""Adapting again, and the versions of a task over HTTP."""

import httpx
import pytest

from tests.api.toy_service import create, field, png


@pytest.fixture
def address(client: httpx.Client) -> str:
    return f"/v1/tasks/{create(client)['id']}"


def test_adapting_makes_the_next_version_which_then_serves(client: httpx.Client, address: str) -> None:
    response = client.post(f"{address}/adapt", json={"learner": "anil", "steps": 2, "lr": 0.05})
    assert response.status_code == 201
    version = response.json()
    assert response.headers["location"] == f"{address}/versions/2"
    assert (version["number"], version["state"], version["learner"], version["base_model"]) == (
        2,
        "ready",
        "anil",
        "toy",
    )
    assert (version["settings"]["steps"], version["settings"]["lr"], version["error"]) == (2, 0.05, None)
    assert client.get(address).json()["current_version"] == 2
    assert client.get(response.headers["location"]).json() == version


def test_a_version_may_have_a_prior_of_its_own(client: httpx.Client, address: str) -> None:
    labels = [each["label"] for each in client.get(address).json()["classes"]]
    prior = {label: index + 1 for index, label in enumerate(labels)}
    version = client.post(f"{address}/adapt", json={"prior": prior}).json()
    assert (version["state"], version["settings"]["prior"]) == ("ready", prior)
    problem = client.post(f"{address}/adapt", json={"prior": {labels[0]: 0}}).json()
    assert problem["errors"][0]["pointer"] == f"/prior/{labels[0]}"


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_all_of_the_body_is_optional(client: httpx.Client, address: str, body: bytes) -> None:
    response = client.post(f"{address}/adapt", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["learner"]) == (201, "ridge")


def test_not_waiting_is_answered_with_202_and_the_place_to_look(client: httpx.Client, address: str) -> None:
    response = client.post(f"{address}/adapt", json={"wait": 0})
    assert (response.status_code, response.headers["retry-after"]) == (202, "1")
    assert client.get(response.headers["location"]).json()["number"] == 2


def test_versions_are_listed_newest_first(client: httpx.Client, address: str) -> None:
    client.post(f"{address}/adapt")
    first = client.get(f"{address}/versions", params={"limit": 1}).json()
    second = client.get(f"{address}/versions", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [page["items"][0]["number"] for page in (first, second)] == [2, 1]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"learner": "magic"}, "unknown-learner"),
        ({"steps": 3}, "invalid-option"),
        ({"learner": "anil", "steps": -1}, "invalid-request"),
        ({"learner": "anil", "steps": 1.5}, "invalid-request"),
        ({"learner": "anil", "steps": True}, "invalid-request"),
        ({"learner": "anil", "lr": 0}, "invalid-request"),
        ({"step": 3}, "invalid-request"),
        ({"wait": 1000}, "invalid-request"),
        ([], "invalid-request"),
    ],
)
def test_an_adaptation_that_cannot_be_right_is_told(
    client: httpx.Client, address: str, body: object, problem: str
) -> None:
    response = client.post(f"{address}/adapt", json=body)
    assert (response.status_code, response.json()["type"]) == (422, f"/problems/{problem}")


@pytest.mark.parametrize("body", [b"{", b'{"lr": NaN', b"\xff"])
def test_a_body_that_is_no_json_cannot_be_parsed(client: httpx.Client, address: str, body: bytes) -> None:
    response = client.post(f"{address}/adapt", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


def test_json_as_large_as_an_upload_is_too_large(client: httpx.Client, address: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = client.post(f"{address}/adapt", content=b" " * (2**20 + 1), headers=headers)
    assert (response.status_code, response.json()["type"]) == (413, "/problems/request-too-large")


@pytest.mark.parametrize("number", [b'{"lr": NaN}', b'{"lr": Infinity}', b'{"wait": 1e999}'])
def test_numbers_that_are_none_cannot_be_right(client: httpx.Client, address: str, number: bytes) -> None:
    response = client.post(f"{address}/adapt", content=number, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-request")


def test_an_empty_task_has_nothing_to_adapt_to(client: httpx.Client) -> None:
    task = client.post("/v1/tasks", json={"base_model": "toy"}).json()
    response = client.post(f"/v1/tasks/{task['id']}/adapt")
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-support-set")
    predicted = client.post(f"/v1/tasks/{task['id']}/predict", content=png(0))
    assert (predicted.status_code, predicted.json()["type"]) == (409, "/problems/task-not-ready")


def test_an_empty_task_is_filled_then_adapted(client: httpx.Client) -> None:
    address = f"/v1/tasks/{client.post('/v1/tasks', json={'base_model': 'toy'}).json()['id']}"
    client.post(f"{address}/examples", files=[("files", ("a.png", png(0))), field("labels", "a")])
    client.post(f"{address}/examples", files=[("files", ("b.png", png(3))), field("labels", "b")])
    assert client.post(f"{address}/adapt").status_code == 201
    assert client.post(f"{address}/predict", content=png(3, seed=7)).json()["predictions"][0]["label"] == "b"


@pytest.mark.parametrize("number", ["0", "2", "-1", "one", "1.0", "99999999999999999999", "%D9%A1"])
def test_a_number_that_names_no_version_is_not_found(client: httpx.Client, address: str, number: str) -> None:
    response = client.get(f"{address}/versions/{number}")
    assert (response.status_code, response.json()["type"]) == (404, "/problems/version-not-found")
