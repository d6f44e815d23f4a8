"""`Idempotency-Key` over HTTP: the same request twice, another body, one that still runs, keys that are none."""

import io
import threading
import zipfile
from uuid import uuid4

import httpx
import pytest

from service.api.idempotency import request_digest
from service.usecases.uploads import LabelledUpload, Upload
from tests.api.toy_service import create, field, png, support, wait_until


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def tasks_with(client: httpx.Client, line: str) -> list[str]:
    found = client.get("/v1/tasks", params={"metadata.line": line}).json()["items"]
    return [task["id"] for task in found]


def zipped(*, year: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (("good/a.png", png(0)), ("bad/b.png", png(1))):
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


def test_a_form_that_is_sent_twice_makes_one_task_and_gets_one_answer(
    client: httpx.Client, key: dict[str, str]
) -> None:
    line = str(uuid4())
    parts = [*support(), field("base_model", "toy"), field("metadata", f'{{"line": "{line}"}}')]
    first = client.post("/v1/tasks", files=parts, headers=key)
    again = client.post("/v1/tasks", files=[*parts, field("wait", "1")], headers=key)
    assert first.headers["content-type"] == again.headers["content-type"] == "application/json"
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert tasks_with(client, line) == [first.json()["id"]]


def test_the_answer_is_given_again_after_the_task_is_deleted(client: httpx.Client, key: dict[str, str]) -> None:
    first = client.post("/v1/tasks", json={"name": "short-lived"}, headers=key)
    client.delete(first.headers["location"])
    again = client.post("/v1/tasks", json={"name": "short-lived"}, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert client.get(first.headers["location"]).status_code == 404


def test_a_zip_that_is_packed_again_is_the_same_request(client: httpx.Client, key: dict[str, str]) -> None:
    form = [field("base_model", "toy")]
    first = client.post("/v1/tasks", files=[("archive", ("a.zip", zipped(year=2024))), *form], headers=key)
    again = client.post("/v1/tasks", files=[("archive", ("b.zip", zipped(year=2025))), *form], headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


def test_202_is_answered_again_as_202(client: httpx.Client, key: dict[str, str]) -> None:
    parts = [*support(), field("base_model", "toy"), field("wait", "0")]
    first = client.post("/v1/tasks", files=parts, headers=key)
    again = client.post("/v1/tasks", files=parts, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["retry-after"] == first.headers["retry-after"]
    assert again.json() == first.json()


@pytest.mark.parametrize(
    "other",
    [
        [*support(), field("base_model", "toy"), field("name", "other")],
        [*support(3), field("base_model", "toy")],
        [*support()[2:], *support()[:2], field("base_model", "toy")],
    ],
)
def test_another_body_under_the_key_is_422(client: httpx.Client, key: dict[str, str], other: list[object]) -> None:
    assert client.post("/v1/tasks", files=[*support(), field("base_model", "toy")], headers=key).status_code == 201
    refused = client.post("/v1/tasks", files=other, headers=key)  # type: ignore[arg-type]  # parts of forms
    assert refused.status_code == 422
    assert refused.json()["type"] == "/problems/idempotency-key-reused"


def test_examples_that_are_sent_twice_are_stored_once(client: httpx.Client, key: dict[str, str]) -> None:
    task = create(client)
    address = f"/v1/tasks/{task['id']}/examples"
    first = client.post(address, files=support(), headers=key)
    again = client.post(address, files=support(), headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert client.get(f"/v1/tasks/{task['id']}").json()["n_examples"] == 12


def test_a_task_that_is_adapted_twice_with_one_key_has_one_more_version(
    client: httpx.Client, key: dict[str, str]
) -> None:
    task = create(client)
    address = f"/v1/tasks/{task['id']}/adapt"
    first = client.post(address, json={"learner": "anil", "steps": 2}, headers=key)
    again = client.post(address, json={"steps": 2, "learner": "anil"}, headers=key)
    other = client.post(address, json={"learner": "anil", "steps": 3}, headers=key)
    assert first.status_code == 201
    assert first.headers["location"] == again.headers["location"] == f"/v1/tasks/{task['id']}/versions/2"
    assert again.content == first.content
    assert other.status_code == 422
    assert len(client.get(f"/v1/tasks/{task['id']}/versions").json()["items"]) == 2


def test_a_key_is_another_one_for_another_task(client: httpx.Client, key: dict[str, str]) -> None:
    one, two = create(client), create(client)
    first = client.post(f"/v1/tasks/{one['id']}/adapt", headers=key)
    second = client.post(f"/v1/tasks/{two['id']}/adapt", headers=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert "idempotency-replayed" not in second.headers


def test_a_request_that_was_refused_can_be_put_right_under_its_key(client: httpx.Client, key: dict[str, str]) -> None:
    wrong = [*support(), field("base_model", "toy"), field("learner", "none")]
    refused = client.post("/v1/tasks", files=wrong, headers=key)
    assert refused.json()["type"] == "/problems/unknown-learner"
    bad_image = [*support(), ("files", ("x.png", b"no image")), ("labels", (None, b"x")), field("base_model", "toy")]
    assert client.post("/v1/tasks", files=bad_image, headers=key).json()["type"] == "/problems/upload-rejected"
    right = client.post("/v1/tasks", files=[*support(), field("base_model", "toy")], headers=key)
    assert (right.status_code, "idempotency-replayed" in right.headers) == (201, False)


def test_a_task_that_does_not_exist_is_404_with_a_key_too(client: httpx.Client, key: dict[str, str]) -> None:
    address = "/v1/tasks/0194c9b2-e6c7-7a0b-8f4e-3d7c3c1a2b10/adapt"
    assert [client.post(address, headers=key).status_code for _ in range(2)] == [404, 404]


def test_a_second_request_is_409_while_the_first_runs(client: httpx.Client, key: dict[str, str]) -> None:
    """Twenty at once, through one key: one makes the task, the others are told to wait or get its answer."""
    line = str(uuid4())
    parts = [*support(), field("base_model", "toy"), field("metadata", f'{{"line": "{line}"}}')]
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("/v1/tasks", files=parts, headers=key)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {answer.status_code for answer in answers} == {201, 409}
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["type"] == "/problems/request-in-progress"
    assert refused.headers["retry-after"]
    wait_until(lambda: client.post("/v1/tasks", files=parts, headers=key).status_code == 201)
    assert len(tasks_with(client, line)) == 1


@pytest.mark.parametrize("value", ["", "x" * 256, "two words", b"\xe4"])
def test_a_key_that_is_none_is_422(client: httpx.Client, value: str | bytes) -> None:
    headers = {b"Idempotency-Key": value if isinstance(value, bytes) else value.encode()}
    refused = client.post("/v1/tasks", json={}, headers=headers)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"


def test_two_keys_on_one_request_are_422(client: httpx.Client) -> None:
    refused = client.post("/v1/tasks", json={}, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "sent-twice")


def test_the_longest_key_is_taken(client: httpx.Client) -> None:
    key = {"Idempotency-Key": f'"{uuid4()}{"~" * 217}"'}
    sent = [client.post("/v1/tasks", json={}, headers=key) for _ in range(2)]
    assert [answer.headers.get("idempotency-replayed") for answer in sent] == [None, "true"]


def test_openapi_tells_of_the_key_where_it_is_read(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    told = {
        path
        for path, operations in paths.items()
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }
    assert told == {
        "/v1/tasks",
        "/v1/tasks/{task}/examples",
        "/v1/tasks/{task}/feedback",
        "/v1/tasks/{task}/adapt",
        "/v1/tasks/{task}/versions/{number}/activate",
    }
    create_task = paths["/v1/tasks"]["post"]["responses"]
    assert "Idempotency-Replayed" in create_task["201"]["headers"]
    assert "request-in-progress" in create_task["409"]["description"]


def test_a_file_that_is_too_large_is_not_read_for_its_digest() -> None:
    def read() -> bytes:
        raise AssertionError

    assert len(request_digest(None, [LabelledUpload("a", Upload("a", 10**12, read), "/files/0")], 100)) == 64
