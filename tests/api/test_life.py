"""Changing a task over HTTP: PATCH, activation, feedback."""

import httpx
import pytest

from tests.api.toy_service import create, field, png, support


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition("/")[2]


def test_a_patch_changes_what_it_names(client: httpx.Client) -> None:
    task = create(client, field("metadata", '{"line": "3", "site": "north"}'))
    address = f"/v1/tasks/{task['id']}"
    first = client.patch(address, json={"name": "corners", "metadata": {"line": "4", "site": None}})
    second = client.patch(address, json={"threshold": 0.9, "keep_s": 3600})
    assert first.status_code == second.status_code == 200
    task = client.get(address).json()
    assert (task["name"], task["metadata"], task["threshold"]) == ("corners", {"line": "4"}, 0.9)
    assert task["expires_at"] > task["updated_at"]
    assert client.patch(address, json={"threshold": None, "keep_s": None}).json()["expires_at"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"threshold": 1.5}, "/threshold"),
        ({"threshold": "0.5"}, "/threshold"),
        ({"name": ""}, "/name"),
        ({"metadata": {"line": 3}}, "/metadata/line"),
        ({"store": "some"}, "/store"),
        ({"store": None}, "/store"),
        ({"keep_s": 0}, "/keep_s"),
        ({"state": "ready"}, "/state"),
    ],
)
def test_a_patch_that_cannot_be_names_the_field(client: httpx.Client, body: dict[str, object], pointer: str) -> None:
    response = client.patch(f"/v1/tasks/{create(client)['id']}", json=body)
    assert problem(response) == (422, "invalid-request")
    assert response.json()["errors"][0]["pointer"] == pointer


def test_a_task_says_at_once_which_answers_are_below_its_threshold(client: httpx.Client) -> None:
    task = create(client, field("threshold", "0"))
    address = f"/v1/tasks/{task['id']}"
    marks = [client.post(f"{address}/predict", content=png(0)).json()["predictions"][0]["below_threshold"]]
    client.patch(address, json={"threshold": 1})
    marks.append(client.post(f"{address}/predict", content=png(0)).json()["predictions"][0]["below_threshold"])
    assert (task["threshold"], marks) == (0, [False, True])


def test_an_earlier_version_answers_once_it_is_activated(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    client.post(f"{address}/adapt", json={"wait": 30})
    activated = client.post(f"{address}/versions/1/activate")
    assert (activated.status_code, activated.json()["current_version"]) == (200, 1)
    assert client.post(f"{address}/predict", content=png(0)).json()["version"] == 1
    assert problem(client.post(f"{address}/versions/7/activate")) == (404, "version-not-found")


def test_an_activation_that_is_sent_again_is_done_once(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    client.post(f"{address}/adapt", json={"wait": 30})
    key = {"Idempotency-Key": f"back-to-1-of-{address}"}
    first = client.post(f"{address}/versions/1/activate", headers=key)
    client.post(f"{address}/versions/2/activate")
    again = client.post(f"{address}/versions/1/activate", headers=key)
    assert (again.headers["Idempotency-Replayed"], again.content) == ("true", first.content)
    assert client.get(address).json()["current_version"] == 2


def test_feedback_is_stored_and_adapted_to(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    parts = [("files", ("x.png", png(2, seed=7))), field("labels", "bottom left"), field("adapt", "true")]
    given = client.post(f"{address}/feedback", files=[*parts, field("wait", "30")])
    assert (given.status_code, given.json()["version"]) == (201, 2)
    assert [(each["label"], each["source"]) for each in given.json()["items"]] == [("bottom left", "feedback")]
    answer = client.post(f"{address}/predict", content=png(2, seed=8)).json()
    assert (answer["version"], answer["predictions"][0]["label"]) == (2, "bottom left")


@pytest.mark.parametrize("adapt", ["true", "false"])
def test_feedback_that_is_sent_again_is_stored_once(client: httpx.Client, adapt: str) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    parts = [*support(1, 1), field("adapt", adapt), field("wait", "30")]
    key = {"Idempotency-Key": f"feedback-on-{address}"}
    answers = [client.post(f"{address}/feedback", files=parts, headers=key) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert client.get(address).json()["n_examples"] == 7


def test_feedback_that_is_not_waited_for_says_where_to_look(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    given = client.post(f"{address}/feedback", files=[*support(1, 1), field("adapt", "true"), field("wait", "0")])
    assert (given.status_code, given.headers["Location"]) == (202, f"{address}/versions/2")
    assert given.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([field("labels", "top left")], (422, "invalid-request")),
        ([("files", ("x.png", b"no image")), field("labels", "top left")], (415, "upload-rejected")),
        ([*support(1, 1), field("adapt", "perhaps")], (422, "invalid-request")),
        ([*support(1, 1), field("learner", "ridge")], (422, "invalid-request")),
    ],
)
def test_feedback_that_cannot_be_is_refused_whole(
    client: httpx.Client, parts: list[object], answer: tuple[int, str]
) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    assert problem(client.post(f"{address}/feedback", files=parts)) == answer  # type: ignore[arg-type]
    assert client.get(address).json()["n_examples"] == 6


def test_a_task_that_keeps_features_gives_no_original_and_is_adapted_again(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client, field('store', 'features'))['id']}"
    examples = client.get(f"{address}/examples").json()["items"]
    assert {each["has_original"] for each in examples} == {False}
    assert problem(client.get(f"{address}/examples/{examples[0]['id']}")) == (410, "original-not-kept")
    assert client.post(f"{address}/adapt", json={"wait": 30}).json()["state"] == "ready"


def test_a_task_that_keeps_nothing_answers_and_is_not_adapted_again(client: httpx.Client) -> None:
    task = create(client, field("store", "nothing"))
    address = f"/v1/tasks/{task['id']}"
    assert (task["state"], task["n_examples"]) == ("ready", 0)
    assert [each["label"] for each in task["classes"]] == ["top left", "top right"]
    assert client.get(f"{address}/examples").json()["items"] == []
    assert problem(client.post(f"{address}/adapt")) == (409, "examples-not-kept")
    assert problem(client.post(f"{address}/examples", files=support())) == (409, "examples-not-kept")
    assert problem(client.post(f"{address}/feedback", files=support())) == (409, "examples-not-kept")
    assert client.post(f"{address}/predict", content=png(1)).json()["predictions"][0]["label"] == "top right"
