"""What a client sees when the engine, the disk or the process cannot do its part."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import httpx
import pytest
from fastapi import FastAPI

from service.api.deps import Services
from service.app import build_app
from service.artifacts import FileArtifacts
from service.engine.base import EngineStats
from service.errors import CheckpointError, InvalidSupportSet, ServiceError, WorkerDied
from service.persistence.database import Database
from service.persistence.migrate import check_schema
from service.preparation import prepare_database
from tests.api.toy_service import create_async, field, make_settings, png, support
from tests.fakes import FakeEngine

State: TypeAlias = Literal["starting", "ready", "restarting", "stopped"]


class FaultyEngine(FakeEngine):
    """A `FakeEngine` whose start fails, or that says another state than ready."""

    start_error: Exception | None = None
    state: EngineStats = EngineStats("ready", "fake")

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error

    def stats(self) -> EngineStats:
        return self.state


@pytest.fixture
def engine(tmp_path: Path) -> FaultyEngine:
    return FaultyEngine(FileArtifacts(tmp_path / "artifacts"))


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
async def app(engine: FaultyEngine, tmp_path: Path, toy_folder: Path, failures: list[str]) -> FastAPI:
    settings = make_settings(tmp_path, base_models_dir=toy_folder, deadline_s=0.3, max_file_bytes=1024)
    await asyncio.to_thread(prepare_database, settings)
    return build_app(settings, engine=engine, on_failure=lambda: failures.append("told"))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await asyncio.sleep(0.05)
        yield client


async def test_a_full_queue_is_503_and_nothing_is_stored(client: httpx.AsyncClient, engine: FaultyEngine) -> None:
    engine.places = 0
    response = await client.post("/v1/tasks", files=[*support(), field("base_model", "toy")])
    assert (response.status_code, response.json()["type"]) == (503, "/problems/engine-busy")
    assert int(response.headers["retry-after"]) >= 1
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_task_that_takes_longer_than_the_client_waits_is_202(
    client: httpx.AsyncClient, engine: FaultyEngine
) -> None:
    engine.open_gate.clear()
    response = await client.post("/v1/tasks", files=[*support(), field("base_model", "toy"), field("wait", "0.05")])
    assert (response.status_code, response.json()["state"]) == (202, "queued")
    assert response.json()["pending_version"] == 1
    predicted = await client.post(f"{response.headers['location']}/predict", content=png(0))
    assert (predicted.status_code, predicted.json()["type"]) == (409, "/problems/task-not-ready")
    engine.open_gate.set()


async def test_an_adaptation_that_fails_is_a_task_that_failed(client: httpx.AsyncClient, engine: FaultyEngine) -> None:
    engine.failures.append(InvalidSupportSet("these images are all alike"))
    response = await client.post("/v1/tasks", files=[*support(), field("base_model", "toy")])
    assert (response.status_code, response.json()["state"]) == (201, "failed")
    version = (await client.get(f"{response.headers['location']}/versions/1")).json()
    assert (version["error"]["type"], version["error"]["detail"]) == (
        "/problems/invalid-support-set",
        "these images are all alike",
    )


async def test_a_prediction_past_its_deadline_is_504(client: httpx.AsyncClient, engine: FaultyEngine) -> None:
    task = await create_async(client)
    engine.open_gate.clear()
    response = await client.post(f"/v1/tasks/{task}/predict", content=png(0))
    assert (response.status_code, response.json()["type"]) == (504, "/problems/deadline-exceeded")


async def test_a_worker_that_dies_is_503(client: httpx.AsyncClient, engine: FaultyEngine) -> None:
    task = await create_async(client)

    async def die(*_: object, **__: object) -> None:
        raise WorkerDied("the worker stopped; try again in a second")

    engine.predict = die  # type: ignore[assignment, method-assign]  # the fake's failure
    response = await client.post(f"/v1/tasks/{task}/predict", content=png(0))
    assert (response.status_code, response.json()["type"]) == (503, "/problems/worker-died")
    assert "retry-after" in response.headers


async def test_an_image_past_the_limit_is_413_raw_and_in_a_form(client: httpx.AsyncClient) -> None:
    task = await create_async(client)
    raw = await client.post(f"/v1/tasks/{task}/predict", content=b"x" * 1025)
    form = await client.post(f"/v1/tasks/{task}/predict", files=[("files", ("a.png", b"x" * 1025))])
    assert (raw.status_code, raw.json()["type"]) == (413, "/problems/image-too-large")
    assert (form.status_code, form.json()["errors"][0]["code"]) == (413, "image-too-large")


async def test_the_request_id_reaches_the_engine(client: httpx.AsyncClient, engine: FaultyEngine) -> None:
    task = await create_async(client)
    await client.post(f"/v1/tasks/{task}/predict", content=png(0), headers={"X-Request-Id": "mine-7"})
    assert engine.predictions[-1].request_id == "mine-7"


async def test_a_client_that_leaves_takes_its_prediction_back(
    app: FastAPI, client: httpx.AsyncClient, engine: FaultyEngine
) -> None:
    task = await create_async(client)
    cancelled = asyncio.Event()

    async def work_for_ever(*_: object, **__: object) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    engine.predict = work_for_ever  # type: ignore[assignment, method-assign]  # a prediction that never ends
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": png(0)}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return messages.pop(0)

    async def send(message: object) -> None:
        raise AssertionError(message)

    path = f"/v1/tasks/{task}/predict"
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b"", "root_path": ""}
    await app(scope, receive, send)
    assert cancelled.is_set()


@pytest.mark.parametrize("state", ["starting", "restarting", "stopped"])
async def test_readiness_names_the_engine(client: httpx.AsyncClient, engine: FaultyEngine, state: State) -> None:
    engine.state = replace(engine.state, state=state)
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/not-ready")
    assert [(error["pointer"], error["code"]) for error in response.json()["errors"]] == [
        ("/engine", "engine-not-ready")
    ]
    assert (await client.get("/livez")).status_code == 200


async def test_readiness_names_the_process_that_ends(client: httpx.AsyncClient, app: FastAPI) -> None:
    app.state.services.lifecycle.is_draining = True
    response = await client.get("/readyz")
    assert (response.status_code, response.headers["connection"]) == (503, "close")
    assert response.json()["errors"][0]["pointer"] == "/process"


async def test_readiness_names_a_database_without_our_schema(
    client: httpx.AsyncClient, app: FastAPI, tmp_path: Path
) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    app.state.services = with_check(app.state.services, lambda: check_schema(empty))
    response = await client.get("/readyz")
    await empty.close()
    assert response.status_code == 503
    assert [(error["pointer"], error["code"]) for error in response.json()["errors"]] == [
        ("/database", "schema-outdated")
    ]


async def test_readiness_names_a_database_that_does_not_answer(client: httpx.AsyncClient, app: FastAPI) -> None:
    async def broken() -> None:
        raise OSError("no route to host")

    app.state.services = with_check(app.state.services, broken)
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["errors"][0]["code"]) == (503, "no-answer")


async def test_an_engine_that_cannot_start_is_told_once_and_named(
    app: FastAPI, engine: FaultyEngine, failures: list[str]
) -> None:
    engine.start_error = CheckpointError("toy.safetensors is damaged")
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0.05)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.get("/readyz")
    assert failures == ["told"]
    assert response.json()["errors"][0]["detail"] == "toy.safetensors is damaged"
    failure: ServiceError = app.state.services.lifecycle.failure
    assert failure.message == "toy.safetensors is damaged"


def with_check(services: Services, check: Callable[[], Awaitable[None]]) -> Services:
    return replace(services, check_database=check)
