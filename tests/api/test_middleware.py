"""Every request gets an id, a line and a count; no body is larger or slower than allowed; no exception gets out."""

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from service.api.middleware import BodyLimit, RequestContext
from service.api.problems import install_handlers
from service.telemetry import Metrics


class Body(BaseModel):
    text: str


class Switch:
    is_on = False


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def draining() -> Switch:
    return Switch()


@pytest.fixture
def app(metrics: Metrics, draining: Switch) -> FastAPI:
    app = FastAPI()

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/model")
    async def model(body: Body) -> Body:
        return body

    @app.get("/items/{item}")
    async def item(item: str) -> str:
        return item

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response(status_code=503 if draining.is_on else 200)

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("secret detail")

    @app.get("/half")
    async def half() -> Response:
        return BrokenOnTheWay("start")

    install_handlers(app, app.routes)
    app.add_middleware(BodyLimit, max_bytes=1000, pause_s=0.05)
    app.add_middleware(RequestContext, metrics=metrics, is_draining=lambda: draining.is_on)
    return app


class BrokenOnTheWay(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("the answer had already begun")


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_a_body_at_the_limit_passes(client: httpx.AsyncClient) -> None:
    response = await client.post("/length", content=b"x" * 1000)
    assert response.json() == 1000


async def test_a_body_past_the_limit_is_refused_by_its_declared_length(client: httpx.AsyncClient) -> None:
    response = await client.post("/length", content=b"x" * 1001)
    assert (response.status_code, response.json()["type"]) == (413, "/problems/request-too-large")


async def test_a_body_past_the_limit_is_refused_without_a_declared_length(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    response = await client.post("/length", content=chunks())
    assert (response.status_code, response.json()["type"]) == (413, "/problems/request-too-large")


async def test_the_refusal_stands_where_the_framework_reads_the_body(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"text": "'
        yield b"x" * 2000

    response = await client.post("/model", content=chunks(), headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (413, "/problems/request-too-large")


async def test_a_body_that_stands_still_is_given_up(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(1)
        yield b"x"

    response = await client.post("/length", content=chunks())
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


async def test_an_exception_nobody_foresaw_tells_the_client_nothing(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.get("/broken", headers={"X-Request-Id": "mine-1"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert response.json()["request_id"] == "mine-1"
    assert "secret detail" in caplog.text


async def test_an_exception_after_the_answer_began_is_logged(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    sent = await exchange(app, "GET", "/half", [{"type": "http.request", "body": b""}])
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert "the answer had already begun" in caplog.text


async def test_every_answer_has_a_request_id_and_nosniff(client: httpx.AsyncClient) -> None:
    answers = [await client.get("/items/1"), await client.get("/nowhere"), await client.get("/broken")]
    assert all(answer.headers["x-content-type-options"] == "nosniff" for answer in answers)
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


async def test_a_request_id_that_is_no_plain_word_is_replaced(client: httpx.AsyncClient) -> None:
    response = await client.get("/items/1", headers={"X-Request-Id": "a b"})
    assert response.headers["x-request-id"] != "a b"


async def test_head_is_answered_as_get(client: httpx.AsyncClient) -> None:
    assert (await client.head("/items/1")).status_code == 200


async def test_a_line_and_a_count_name_the_route_and_never_the_address(
    client: httpx.AsyncClient, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handful.access")
    await client.get("/items/secret-item")
    await client.get("/nowhere/secret-place")
    lines = [record.getMessage() for record in caplog.records if record.name == "handful.access"]
    assert [line.split()[:3] for line in lines] == [["GET", "/items/{item}", "200"], ["GET", "unmatched", "404"]]
    text = metrics.render().decode()
    assert 'handful_requests_total{method="GET",route="/items/{item}",status="200"} 1.0' in text
    assert "secret" not in text


async def test_a_probe_that_succeeds_writes_no_line_for_people(
    client: httpx.AsyncClient, draining: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "handful.access")
    await client.get("/readyz")
    draining.is_on = True
    await client.get("/readyz")
    lines = [(each.levelname, each.getMessage().split()[2]) for each in caplog.records if each.name == "handful.access"]
    assert lines == [("DEBUG", "200"), ("INFO", "503")]


async def test_answers_close_the_connection_while_draining(client: httpx.AsyncClient, draining: Switch) -> None:
    assert "connection" not in (await client.get("/items/1")).headers
    draining.is_on = True
    assert (await client.get("/items/1")).headers["connection"] == "close"


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_only_counted(app: FastAPI, metrics: Metrics) -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    assert await exchange(app, "POST", "/length", messages) == []
    assert 'route="/length",status="499"' in metrics.render().decode()


async def exchange(app: FastAPI, method: str, path: str, messages: list[Message]) -> list[Message]:
    """What the app sends to a client that sends these messages."""
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "root_path": ""}
    await app(scope, receive, send)
    return sent
