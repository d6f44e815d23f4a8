"""A service in a thread of the tests, and requests on the toy base model's images."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
from PIL import Image

from service.api.draining import DrainingServer, server_config
from service.app import build_app
from service.engine.base import Engine
from service.preparation import prepare_database
from service.settings import Settings
from tests.engine.toy_tasks import toy_images

Parts: TypeAlias = list[tuple[str, tuple[str | None, bytes] | tuple[str | None, bytes, str]]]
LABELS = ("top left", "top right", "bottom left", "bottom right")
START_S = 20.0


def make_settings(data_dir: Path, **told: Any) -> Settings:  # noqa: ANN401  # values of settings
    """Settings that no environment and no `.env` file has a part in, but for those that are told."""
    values: dict[str, Any] = {"_env_file": None, "data_dir": data_dir, "port": 0, "drain_s": 0}
    return Settings(**(values | told))


@contextmanager
def serving(settings: Settings, engine: Engine) -> Iterator[str]:
    """The address of a service that runs in a thread until the block ends."""
    prepare_database(settings)
    app = build_app(settings, engine=engine)
    config = server_config(app, host=settings.host, port=settings.port, grace_s=5)
    server = DrainingServer(config, lifecycle=app.state.services.lifecycle, drain_s=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_S)


@contextmanager
def ready_client(url: str) -> Iterator[httpx.Client]:
    """A client of a service that is ready."""
    with httpx.Client(base_url=url, timeout=START_S) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def wait_until(is_so: Any) -> None:  # noqa: ANN401  # a callable that gives a truth
    """Return once it is so; fail when that takes too long."""
    deadline = time.monotonic() + START_S
    while not is_so():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def png(index: int, *, seed: int = 0) -> bytes:
    """An image whose class is the bright quarter: 0 top left, 1 top right, 2 bottom left, 3 bottom right."""
    (pixels,) = toy_images([index], seed=seed)
    buffer = io.BytesIO()
    Image.fromarray(pixels[0]).save(buffer, "PNG")
    return buffer.getvalue()


def support(n_way: int = 2, n_shot: int = 3) -> Parts:
    """The parts of a form: `files` and their `labels`."""
    parts: Parts = []
    for index in range(n_way):
        for shot in range(n_shot):
            parts.append(("files", (f"{index}-{shot}.png", png(index, seed=10 * index + shot), "image/png")))
            parts.append(("labels", (None, LABELS[index].encode())))
    return parts


def field(name: str, value: str) -> tuple[str, tuple[None, bytes]]:
    """A field of a form."""
    return name, (None, value.encode())


def create(client: httpx.Client, *more: tuple[str, tuple[None, bytes]], n_way: int = 2) -> dict[str, Any]:
    """A task of the toy base model that is ready."""
    response = client.post("/v1/tasks", files=[*support(n_way), field("base_model", "toy"), *more])
    assert response.status_code == 201, response.text
    task: dict[str, Any] = response.json()
    return task


async def create_async(client: httpx.AsyncClient) -> str:
    """The id of a task of the toy base model that is ready."""
    response = await client.post("/v1/tasks", files=[*support(), field("base_model", "toy")])
    assert response.status_code == 201, response.text
    return str(response.json()["id"])
