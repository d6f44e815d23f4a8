"""What the client makes of answers, good and bad."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from service.client import Client, ServiceUnreachable
from service.errors import (
    BadItem,
    BaseModelGone,
    DeadlineExceeded,
    EngineBusy,
    EngineNotReady,
    InvalidRequest,
    ServiceError,
    StorageFull,
    TaskNotFound,
    UploadRejected,
)

TASK_ID = "0193b0a0-0000-7000-8000-000000000000"
TASK = {"id": TASK_ID, "name": "mugs", "state": "ready", "classes": [{"label": "whole", "n_examples": 2}]}

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, *, api_key: str | None = None) -> Client:
    return Client("http://service.test", api_key, transport=httpx.MockTransport(handler))


def problem(status: int, kind: str, detail: str, **more: object) -> httpx.Response:
    body = {"type": f"https://service.test/problems/{kind}", "title": "?", "status": status, "detail": detail, **more}
    headers = {"Content-Type": "application/problem+json", "X-Request-Id": "r-17"}
    return httpx.Response(status, json=body, headers=headers)


def page(*items: object) -> httpx.Response:
    return httpx.Response(200, json={"items": items, "next_cursor": None})


def in_turn(*responses: httpx.Response) -> tuple[Handler, list[httpx.Request]]:
    """A handler that gives these responses in turn, and the list of what it was asked."""
    asked: list[httpx.Request] = []
    left: Iterator[httpx.Response] = iter(responses)

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return next(left)

    return handle, asked


def test_a_problem_document_is_raised_as_the_class_it_names() -> None:
    client = client_of(lambda _: problem(404, "task-not-found", "no task has this id"))
    with pytest.raises(TaskNotFound, match=r"^no task has this id"):
        client.task(TASK_ID)


def test_a_problem_carries_the_request_id_as_a_note() -> None:
    client = client_of(lambda _: problem(404, "example-not-found", "gone"))
    with pytest.raises(ServiceError) as caught:
        client.delete_example(TASK_ID, "x")
    assert caught.value.__notes__ == ["request id r-17"]


def test_a_rejected_upload_names_each_bad_image_and_keeps_its_status() -> None:
    bad = {"pointer": "/files/1", "code": "damaged-image", "detail": "it is truncated", "filename": "b.png"}
    client = client_of(lambda _: problem(415, "upload-rejected", "1 of 2 images", errors=[bad]))
    with pytest.raises(UploadRejected) as caught:
        client.create_task("mugs", {"whole": [b"1"], "chipped": [b"2"]})
    assert caught.value.items == (BadItem("/files/1", "damaged-image", "it is truncated", "b.png"),)
    assert caught.value.status == 415


def test_the_fields_that_are_wrong_are_told_in_the_message() -> None:
    wrong = {"pointer": "/wait", "code": "range", "detail": "must be at most 60"}
    client = client_of(lambda _: problem(422, "invalid-request", "the request is not valid", errors=[wrong]))
    with pytest.raises(InvalidRequest, match="the request is not valid; /wait must be at most 60"):
        client.adapt(TASK_ID)


def test_an_answer_that_is_no_problem_document_is_still_a_service_error() -> None:
    client = client_of(lambda _: httpx.Response(502, html="<h1>Bad Gateway</h1>"))
    with pytest.raises(ServiceError, match="502 Bad Gateway"):
        client.task(TASK_ID)


def test_a_kind_of_problem_that_the_client_does_not_know_is_a_service_error() -> None:
    client = client_of(lambda _: problem(418, "teapot", "short and stout"))
    with pytest.raises(ServiceError, match="short and stout"):
        client.task(TASK_ID)


def test_nobody_listening_is_one_clear_exception() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceUnreachable, match=r"127.0.0.1:9"):
        client.base_models()


def test_an_address_that_is_none_is_one_clear_exception() -> None:
    with Client("127.0.0.1:8000") as client, pytest.raises(ServiceUnreachable):
        client.base_models()


def test_a_late_answer_is_a_deadline_exceeded() -> None:
    def too_slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(DeadlineExceeded, match="within 40 s"):
        client_of(too_slow).adapt(TASK_ID, wait_s=10)


def test_the_client_waits_longer_than_it_asks_the_service_to() -> None:
    handle, asked = in_turn(httpx.Response(201, json=TASK))
    client_of(handle).create_task("mugs", {"whole": [b"1"]}, wait_s=60)
    assert asked[0].extensions["timeout"]["read"] == 60 + 30 + 1  # a second for the image


def test_a_read_is_repeated_while_the_service_says_that_it_will_be_back() -> None:
    busy = problem(503, "engine-not-ready", "starting")
    busy.headers["Retry-After"] = "0"
    handle, asked = in_turn(busy, httpx.Response(200, json=TASK))
    assert client_of(handle).task(TASK_ID).name == "mugs"
    assert len(asked) == 2


def test_a_read_is_not_repeated_for_ever() -> None:
    busy = problem(503, "engine-busy", "the queue is full")
    busy.headers["Retry-After"] = "0"
    handle, asked = in_turn(busy, busy, busy, busy)
    with pytest.raises(EngineBusy):
        client_of(handle).task(TASK_ID)
    assert len(asked) == 4


def test_a_prediction_is_never_repeated() -> None:
    busy = problem(503, "engine-busy", "the queue is full")
    busy.headers["Retry-After"] = "0"
    handle, asked = in_turn(busy)
    with pytest.raises(EngineBusy):
        client_of(handle).predict(TASK_ID, b"image")
    assert len(asked) == 1


def test_what_makes_something_is_repeated_under_its_key_until_it_is_made() -> None:
    busy, running = problem(503, "engine-busy", "full"), problem(409, "request-in-progress", "wait")
    busy.headers["Retry-After"] = running.headers["Retry-After"] = "0"
    handle, asked = in_turn(busy, running, httpx.Response(201, json=TASK))
    assert client_of(handle).create_task("mugs", {"whole": [b"1"]}).name == "mugs"
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 1


def test_what_makes_something_is_repeated_for_as_long_as_a_slow_restart_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = problem(503, "engine-not-ready", "the engine is not running")
    starting.headers["Retry-After"] = "2"
    pauses_s: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses_s.append)
    with pytest.raises(EngineNotReady):
        client_of(lambda _: starting).create_task("mugs", {"whole": [b"1"]})
    assert 60 <= sum(pauses_s) <= 90
    assert min(pauses_s) == 2


def test_every_call_that_makes_something_has_a_key_of_its_own() -> None:
    version = {"number": 1, "state": "ready", "learner": "ridge", "base_model": "toy"}
    example = {"id": "1", "label": "whole"}
    handle, asked = in_turn(
        httpx.Response(201, json=TASK),
        httpx.Response(201, json=TASK),
        httpx.Response(201, json={"items": [example]}),
        httpx.Response(201, json=version),
    )
    client = client_of(handle)
    task = client.create_task("mugs", {"whole": [b"1"]})
    client.create_empty_task("cups")
    client.add_examples(task, {"whole": [b"1"]})
    client.adapt(task)
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 4


def test_a_key_that_is_given_is_sent() -> None:
    handle, asked = in_turn(httpx.Response(201, json=TASK))
    client_of(handle).create_empty_task("mugs", idempotency_key="order-17")
    assert asked[0].headers["Idempotency-Key"] == "order-17"


def test_a_broken_connection_is_tried_again_with_the_same_images() -> None:
    bodies: list[bytes] = []

    def break_once(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        if len(bodies) == 1:
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(201, json=TASK)

    client_of(break_once).create_task("mugs", {"whole": [b"bytes of an image"]})
    assert [b"bytes of an image" in body for body in bodies] == [True, True]


def test_a_service_that_never_was_there_is_told_at_once() -> None:
    asked: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ServiceUnreachable) as caught:
        client_of(refuse).create_empty_task("mugs", idempotency_key="order-17")
    assert len(asked) == 1
    assert caught.value.__notes__ == ["idempotency key order-17"]


def test_another_conflict_is_not_repeated() -> None:
    handle, asked = in_turn(problem(409, "base-model-gone", "gone"))
    with pytest.raises(BaseModelGone):
        client_of(handle).adapt(TASK_ID)
    assert len(asked) == 1


def test_readiness_is_asked_once_and_is_no_exception() -> None:
    handle, asked = in_turn(problem(503, "engine-not-ready", "starting"))
    assert not client_of(handle).ready()
    assert len(asked) == 1


def test_the_key_travels_as_a_bearer_token() -> None:
    handle, asked = in_turn(httpx.Response(200, json=TASK))
    client_of(handle, api_key="secret-key").task(TASK_ID)
    assert asked[0].headers["Authorization"] == "Bearer secret-key"


def test_lists_are_read_page_by_page() -> None:
    second = TASK | {"name": "cups"}
    first_page = httpx.Response(200, json={"items": [TASK], "next_cursor": "c1"})
    handle, asked = in_turn(first_page, httpx.Response(200, json={"items": [second], "next_cursor": None}))
    assert [task.name for task in client_of(handle).tasks(state="ready", metadata={"line": "3"})] == ["mugs", "cups"]
    assert dict(asked[1].url.params) == {"limit": "100", "state": "ready", "metadata.line": "3", "cursor": "c1"}


def test_a_field_that_the_client_does_not_know_is_ignored() -> None:
    client = client_of(lambda _: httpx.Response(200, json=TASK | {"mood": "good"}))
    assert client.task(TASK_ID).classes[0].n_examples == 2


def test_an_answer_without_what_it_must_have_is_a_service_error() -> None:
    client = client_of(lambda _: httpx.Response(200, json={"state": "ready"}))
    with pytest.raises(ServiceError, match="Task"):
        client.task(TASK_ID)


def test_a_name_that_several_tasks_have_is_refused_with_their_ids() -> None:
    other = TASK | {"id": TASK_ID[:-1] + "1"}
    client = client_of(lambda _: httpx.Response(200, json={"items": [TASK, other], "next_cursor": None}))
    with pytest.raises(InvalidRequest, match=f"{TASK_ID}, {other['id']}"):
        client.delete_task("mugs")


def test_a_name_that_no_task_has_is_not_found() -> None:
    client = client_of(lambda _: httpx.Response(200, json={"items": [], "next_cursor": None}))
    with pytest.raises(TaskNotFound, match="'mugs'"):
        client.predict("mugs", b"image")


def test_waiting_for_a_version_that_failed_raises_its_problem() -> None:
    pending = TASK | {"state": "queued", "pending_version": 1}
    error = {"type": "/problems/storage-full", "title": "?", "detail": "the disk is full"}
    handle, _ = in_turn(
        httpx.Response(200, json=pending),
        httpx.Response(200, json=TASK | {"state": "failed"}),
        page({"number": 1, "state": "failed", "error": error}),
    )
    with pytest.raises(StorageFull, match="version 1 failed: the disk is full"):
        client_of(handle).wait_until_ready(TASK_ID)


def test_waiting_tells_that_the_newest_version_failed_although_an_older_one_answers() -> None:
    error = {"type": "/problems/storage-full", "title": "?", "detail": "the disk is full"}
    newest = {"number": 2, "state": "failed", "error": error}
    handle, _ = in_turn(httpx.Response(200, json=TASK | {"current_version": 1}), page(newest))
    with pytest.raises(StorageFull, match="version 2 failed: the disk is full"):
        client_of(handle).wait_until_ready(TASK_ID)


def test_waiting_for_a_task_without_a_version_ends_at_once() -> None:
    handle, _ = in_turn(httpx.Response(200, json=TASK | {"state": "empty"}), page())
    assert client_of(handle).wait_until_ready(TASK_ID).state == "empty"


def test_waiting_ends_after_the_time_given() -> None:
    client = client_of(lambda _: httpx.Response(200, json=TASK | {"state": "queued", "pending_version": 1}))
    with pytest.raises(DeadlineExceeded, match="still queued"):
        client.wait_until_ready(TASK_ID, timeout_s=0)
