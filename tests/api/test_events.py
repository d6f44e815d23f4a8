"""Server-sent events of an adaptation."""

import json
from typing import Any

import httpx

from service.client import Client
from tests.api.toy_service import create, field, support


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that has ended, each with its fields; data parsed."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in response.text.strip().split("\n\n")]
    return [block | {"data": json.loads(block["data"])} for block in blocks if "data" in block]


def test_a_finished_version_is_told_in_one_event_that_is_the_last(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}/versions/1"
    response = client.get(f"{address}/events")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert response.headers["X-Accel-Buffering"] == "no"
    assert events(response) == [{"event": "ready", "id": "end", "data": client.get(address).json()}]


def test_a_browser_that_comes_back_after_the_end_is_told_to_stay_away(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}/versions/1/events"
    assert client.get(address, headers={"Last-Event-ID": "end"}).status_code == 204


def test_an_adaptation_is_told_up_to_its_end(client: httpx.Client) -> None:
    made = client.post("/v1/tasks", files=[*support(4, 20), field("base_model", "toy"), field("wait", "0")]).json()
    told = events(client.get(f"/v1/tasks/{made['id']}/versions/1/events"))
    states = [each["event"] for each in told]
    assert states[-1] == "ready"
    assert set(states[:-1]) <= {"queued", "adapting"}
    assert {each["data"]["number"] for each in told} == {1}


def test_what_cannot_be_watched_is_a_problem_and_no_stream(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}/versions"
    answers = [client.get(f"{address}/{number}/events") for number in ("2", "none")]
    assert [answer.json()["type"] for answer in answers] == ["/problems/version-not-found"] * 2


def test_the_client_follows_an_adaptation(client: httpx.Client) -> None:
    made = client.post("/v1/tasks", files=[*support(2, 20), field("base_model", "toy"), field("wait", "0")]).json()
    with Client(str(client.base_url)) as watcher:
        told = list(watcher.watch(made["id"]))
    assert (told[-1].state, told[-1].number, told[-1].error) == ("ready", 1, None)
