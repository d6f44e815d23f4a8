"""Tasks over HTTP: created with images or empty, listed, deleted; every mistake told."""

import io
import json
import time
import zipfile
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from tests.api.toy_service import Parts, create, field, png, support

NO_TASK = "0194c9b2-e6c7-7a0b-8f4e-3d7c3c1a2b10"


def test_a_form_of_images_becomes_a_ready_task(client: httpx.Client) -> None:
    parts: Parts = [
        *support(3),
        field("base_model", "toy"),
        field("name", "screws"),
        field("metadata", '{"line": "3"}'),
    ]
    response = client.post("/v1/tasks", files=parts)
    assert response.status_code == 201
    task = response.json()
    assert response.headers["location"] == f"/v1/tasks/{task['id']}"
    assert UUID(task["id"]).version == 7
    created = datetime.fromisoformat(task.pop("created_at"))
    assert created.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    assert task.pop("updated_at").endswith("Z")
    assert task == {
        "id": task["id"],
        "name": "screws",
        "state": "ready",
        "base_model": "toy",
        "learner": "ridge",
        "classes": [
            {"label": "top left", "n_examples": 3, "is_left_out": False},
            {"label": "top right", "n_examples": 3, "is_left_out": False},
            {"label": "bottom left", "n_examples": 3, "is_left_out": False},
        ],
        "n_examples": 9,
        "current_version": 1,
        "pending_version": None,
        "metadata": {"line": "3"},
        "threshold": None,
        "store": "images",
        "expires_at": None,
    }
    assert client.get(response.headers["location"]).json()["id"] == task["id"]


def test_a_zip_of_folders_becomes_a_ready_task(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("parts/good/a.png", png(0))
        archive.writestr("parts/bad/b.png", png(1))
        archive.writestr("__MACOSX/parts/bad/._b.png", b"resource fork")
    parts: Parts = [("archive", ("parts.zip", buffer.getvalue())), field("base_model", "toy")]
    response = client.post("/v1/tasks", files=parts)
    assert response.status_code == 201
    assert [(each["label"], each["n_examples"]) for each in response.json()["classes"]] == [("good", 1), ("bad", 1)]


def test_a_zip_with_a_manifest_becomes_the_task_that_it_was(client: httpx.Client) -> None:
    told = {"folder": "a_b", "label": "a/b", "is_left_out": True}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, label in enumerate(("a_b", "bent", "good")):
            archive.writestr(f"{label}/1.png", png(index))
        archive.writestr("handful.json", json.dumps({"classes": [told], "groups": {"bent/1.png": "burst"}}))
    made = client.post(
        "/v1/tasks", files=[("archive", ("a.zip", buffer.getvalue())), field("base_model", "toy")]
    ).json()
    examples = client.get(f"/v1/tasks/{made['id']}/examples").json()["items"]
    (version,) = client.get(f"/v1/tasks/{made['id']}/versions").json()["items"]
    answer = client.post(f"/v1/tasks/{made['id']}/predict", content=png(1)).json()["predictions"][0]
    assert made["state"] == "ready"
    assert [(each["label"], each["is_left_out"]) for each in made["classes"]] == [
        ("a/b", True),
        ("bent", False),
        ("good", False),
    ]
    assert [each["group"] for each in examples] == [None, "burst", None]
    assert (version["report"]["left_out"], version["report"]["n_way"]) == (["a/b"], 2)
    assert (answer["label"], len(answer["scores"])) == ("bent", 2)


def test_a_bad_image_of_a_zip_is_named_and_nothing_is_stored(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good/a.png", png(0))
        archive.writestr("bad/b.png", png(1)[:60])
    response = client.post("/v1/tasks", files=[("archive", ("a.zip", buffer.getvalue())), field("base_model", "toy")])
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/archive/bad/b.png"]


def test_json_makes_an_empty_task(client: httpx.Client) -> None:
    response = client.post("/v1/tasks", json={"name": "later", "base_model": "toy"})
    assert response.status_code == 201
    assert (response.json()["state"], response.json()["n_examples"]) == ("empty", 0)
    assert response.headers["location"].endswith(response.json()["id"])


def test_without_waiting_the_answer_is_202_and_the_task_becomes_ready(client: httpx.Client) -> None:
    response = client.post("/v1/tasks", files=[*support(), field("base_model", "toy"), field("wait", "0")])
    assert (response.status_code, response.headers["retry-after"]) == (202, "1")
    location = response.headers["location"]
    deadline = time.monotonic() + 10
    while client.get(location).json()["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("prior", ["support", "balanced", '{"top left": 3, "top right": 1}'])
def test_the_prior_is_a_word_or_weights(client: httpx.Client, prior: str) -> None:
    assert create(client, field("prior", prior))["state"] == "ready"


@pytest.mark.parametrize(
    ("extra", "problem", "pointer"),
    [
        (field("base_model", "nothing"), "unknown-base-model", None),
        (field("learner", "magic"), "unknown-learner", None),
        (field("prior", "unfair"), "invalid-request", "/prior"),
        (field("prior", '{"top left": -1}'), "invalid-request", "/prior/top left"),
        (field("wait", "61"), "invalid-request", "/wait"),
        (field("wait", "nan"), "invalid-request", "/wait"),
        (field("wait", "soon"), "invalid-request", "/wait"),
        (field("metadata", '{"a": 1}'), "invalid-request", "/metadata/a"),
        (field("metadata", "[]"), "invalid-request", "/metadata"),
        (field("metadata", json.dumps({str(n): "" for n in range(51)})), "invalid-request", "/metadata"),
        (field("name", "x" * 201), "invalid-request", "/name"),
        (field("lables", "typo"), "invalid-request", "/lables"),
        (field("labels", "one too many"), "invalid-request", "/labels"),
        (field("archive", "no file"), "invalid-request", "/archive"),
        (("name", ("name.txt", b"a file")), "invalid-request", "/name"),
        (("photos", ("a.png", b"a file")), "invalid-request", "/photos"),
        (("name", (None, b"\xff")), "invalid-request", "/name"),
        (("name", (None, b"a\x00b")), "invalid-request", "/name"),
        (("labels", (None, b"\xff")), "invalid-request", "/labels"),
    ],
)
def test_a_field_that_cannot_be_right_is_told(
    client: httpx.Client, extra: tuple[str, tuple[str | None, bytes]], problem: str, pointer: str | None
) -> None:
    base_model = [] if extra[0] == "base_model" else [field("base_model", "toy")]
    response = client.post("/v1/tasks", files=[*support(), *base_model, extra])
    assert (response.status_code, response.json()["type"]) == (422, f"/problems/{problem}")
    assert [error["pointer"] for error in response.json().get("errors", [])] == ([pointer] if pointer else [])


def test_a_field_sent_twice_is_told(client: httpx.Client) -> None:
    response = client.post("/v1/tasks", files=[*support(), field("name", "a"), field("name", "b")])
    assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "sent-twice")


def test_metadata_that_is_no_json_cannot_be_parsed(client: httpx.Client) -> None:
    for text in ("{", "[" * 30_000):
        response = client.post("/v1/tasks", files=[*support(), field("metadata", text)])
        assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


def test_a_zip_beside_files_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/tasks", files=[*support(), ("archive", ("a.zip", b"PK"))])
    assert response.status_code == 422


@pytest.mark.parametrize("n_way", [0, 1])
def test_fewer_than_two_classes_are_no_classification_problem(client: httpx.Client, n_way: int) -> None:
    response = client.post("/v1/tasks", files=[*support(n_way), field("base_model", "toy")])
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-support-set")


def test_more_images_than_allowed_are_too_large(client: httpx.Client) -> None:
    parts: Parts = [("files", (f"{index}.png", b"x")) for index in range(1001)]
    response = client.post("/v1/tasks", files=parts)
    assert (response.status_code, response.json()["type"]) == (413, "/problems/request-too-large")


def test_images_that_all_fail_alike_have_the_status_of_their_fault(client: httpx.Client) -> None:
    parts: Parts = [("files", ("a.png", b"<html>")), ("files", ("b.png", b"%PDF-")), *[field("labels", "x")] * 2]
    parts[-1] = field("labels", "y")
    response = client.post("/v1/tasks", files=parts)
    assert response.status_code == 415
    assert [(error["pointer"], error["filename"]) for error in response.json()["errors"]] == [
        ("/files/0", "a.png"),
        ("/files/1", "b.png"),
    ]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_a_body_of_another_type_is_refused(client: httpx.Client, content_type: str) -> None:
    response = client.post("/v1/tasks", content=b"x", headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["type"]) == (415, "/problems/unsupported-media-type")


def test_a_body_without_a_type_is_refused_in_words(client: httpx.Client) -> None:
    response = client.post("/v1/tasks", content=b"image")
    assert response.status_code == 415
    assert response.json()["detail"].startswith("a body without a Content-Type is not read here; send multipart/form")


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"name": ' + b"[" * 100_000, b'{"name": ' + b"9" * 5000 + b"}"])
def test_json_that_cannot_be_parsed_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


@pytest.mark.parametrize(
    "body", ["[]", "null", '{"names": "x"}', '{"name": 3}', '{"name": "\\ud800"}', '{"name": "\\u0000"}']
)
def test_json_that_cannot_be_right_is_refused(client: httpx.Client, body: str) -> None:
    response = client.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-request")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=X"])
def test_a_broken_form_cannot_be_parsed(client: httpx.Client, content_type: str) -> None:
    response = client.post("/v1/tasks", content=b"--Y\r\n", headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


def test_a_list_goes_on_at_its_cursor(client: httpx.Client) -> None:
    mark = uuid4().hex
    ids = [client.post("/v1/tasks", json={"metadata": {"mark": mark}}).json()["id"] for _ in range(5)]
    first = client.get("/v1/tasks", params={"metadata.mark": mark, "limit": 3}).json()
    second = client.get("/v1/tasks", params={"metadata.mark": mark, "cursor": first["next_cursor"]}).json()
    assert [task["id"] for task in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_a_list_can_be_of_one_state(client: httpx.Client) -> None:
    mark = uuid4().hex
    create(client, field("metadata", json.dumps({"mark": mark})))
    empty = client.get("/v1/tasks", params={"metadata.mark": mark, "state": "empty"}).json()
    ready = client.get("/v1/tasks", params={"metadata.mark": mark, "state": "ready"}).json()
    assert (len(empty["items"]), len(ready["items"])) == (0, 1)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=x", 422),
        ("limit=201", 422),
        ("state=odd", 422),
        ("cursor=%00", 400),
        ("cursor=abc", 400),
    ],
)
def test_a_wrong_parameter_of_a_list_is_told(client: httpx.Client, query: str, status: int) -> None:
    response = client.get(f"/v1/tasks?{query}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_a_deleted_task_is_gone(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    assert client.delete(address).status_code == 204
    for response in (client.get(address), client.delete(address), client.post(f"{address}/predict", content=png(0))):
        assert (response.status_code, response.json()["type"]) == (404, "/problems/task-not-found")


@pytest.mark.parametrize(
    "task", [NO_TASK, "screws", "0", NO_TASK.replace("-", ""), f"{{{NO_TASK}}}", "%00", "..%2f", "a" * 5000]
)
def test_an_id_that_names_no_task_is_not_found(client: httpx.Client, task: str) -> None:
    response = client.get(f"/v1/tasks/{task}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
