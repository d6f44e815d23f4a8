"""Whatever goes wrong is a problem document, and its type can be looked up."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel

from service.api.problem_types import router
from service.api.problems import install_handlers, problem_document, problem_response
from service.error_names import error_class, error_classes
from service.errors import BadItem, EngineBusy, ServiceError, UploadRejected


class Body(BaseModel):
    steps: int


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()

    @app.get("/things")
    async def things(limit: Annotated[int, Query(ge=1)]) -> int:
        return limit

    @app.post("/things")
    async def add(body: Body) -> Body:
        return body

    @app.get("/status/{code}")
    async def status(code: int) -> None:
        raise HTTPException(code, "framework words")

    app.include_router(router)
    install_handlers(app, app.routes)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


def test_a_document_has_the_members_of_rfc_9457() -> None:
    assert problem_document(EngineBusy("256 requests wait; try again in a second")) == {
        "type": "/problems/engine-busy",
        "title": EngineBusy.title(),
        "status": 503,
        "detail": "256 requests wait; try again in a second",
        "request_id": "",
    }


def test_what_may_succeed_later_says_when() -> None:
    assert problem_response(EngineBusy("busy")).headers["retry-after"] == "2"


def test_every_bad_image_is_named() -> None:
    items = (BadItem("/files/0", "damaged-image", "cut off", "a.png"), BadItem("/files/2", "empty-file", "no bytes"))
    document = problem_document(UploadRejected("2 of 3 images cannot be used", items, 422))
    assert document["errors"] == [
        {"pointer": "/files/0", "code": "damaged-image", "detail": "cut off", "filename": "a.png"},
        {"pointer": "/files/2", "code": "empty-file", "detail": "no bytes", "filename": None},
    ]


def test_a_message_with_half_a_surrogate_pair_can_be_sent() -> None:
    assert json.loads(bytes(problem_response(ServiceError("bad \ud800 label")).body))["detail"] == "bad \ud800 label"


@pytest.mark.parametrize("cls", list(error_classes()))
async def test_every_type_can_be_looked_up_and_is_known_to_the_client(
    client: httpx.AsyncClient, cls: type[ServiceError]
) -> None:
    document = (await client.get(f"/problems/{cls.problem_type()}")).json()
    assert document["status"] == cls.status
    assert document["title"] == error_class(document["type"].removeprefix("/problems/")).title()


async def test_a_wrong_parameter_has_a_pointer(client: httpx.AsyncClient) -> None:
    response = await client.get("/things?limit=0")
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
    assert response.json()["type"] == "/problems/invalid-request"
    assert response.json()["errors"][0]["pointer"] == "/query/limit"


async def test_a_wrong_member_of_a_body_has_a_json_pointer(client: httpx.AsyncClient) -> None:
    response = await client.post("/things", json={"steps": "many"})
    assert response.json()["errors"][0] | {"detail": ""} == {
        "pointer": "/steps",
        "code": "int-parsing",
        "detail": "",
        "filename": None,
    }


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_cannot_be_parsed(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/things", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


async def test_an_unknown_address_is_not_found(client: httpx.AsyncClient) -> None:
    response = await client.get("/nowhere%0A%00<script>")
    assert (response.status_code, response.json()["type"]) == (404, "/problems/not-found")


async def test_a_wrong_method_is_told_all_the_right_ones(client: httpx.AsyncClient) -> None:
    response = await client.delete("/things")
    assert (response.status_code, response.json()["type"]) == (405, "/problems/method-not-allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (400, "malformed-request"),
        (413, "request-too-large"),
        (415, "unsupported-media-type"),
        (418, "malformed-request"),
    ],
)
async def test_what_the_framework_refuses_is_a_problem_of_ours(
    client: httpx.AsyncClient, code: int, problem: str
) -> None:
    response = await client.get(f"/status/{code}")
    assert response.json()["type"] == f"/problems/{problem}"
    assert response.json()["detail"] == "framework words"


async def test_what_the_framework_fails_at_tells_nothing(client: httpx.AsyncClient) -> None:
    response = await client.get("/status/500")
    assert response.status_code == 500
    assert "framework words" not in response.text
