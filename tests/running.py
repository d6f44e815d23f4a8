"""A service as a user starts it: its own process on a free port, with a folder of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.client import Client

START_S = 60.0


@dataclass(frozen=True)
class Started:
    """A service's process, ready or not."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        with Client(self.url) as client:
            while not client.ready():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the service did not start: {self.log.read_text()}")
                time.sleep(0.1)


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Started]:
    """A service in a process of its own, killed at the end of the block; `settings` without their prefix."""
    settings = {"PORT": str(free_port())} | settings
    command, environment = serve_command(folder, **settings)
    log = folder / f"log-{settings['PORT']}.txt"
    with log.open("a") as stream:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=stream)
    try:
        yield Started(process, f"http://127.0.0.1:{settings['PORT']}", log)
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def running_service(folder: Path, **settings: str) -> Iterator[str]:
    """The address of a service that is ready, and ends in order with the block."""
    with started(folder, **settings) as service:
        service.wait_until_ready()
        yield service.url
        service.process.terminate()
        service.process.wait(timeout=30)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def serve_command(folder: Path, **settings: str) -> tuple[list[str], dict[str, str]]:
    """What starts a service in a folder of its own, and its environment."""
    told = {"DATA_DIR": str(folder / "data"), "DRAIN_S": "0", "DEVICE": "cpu"} | settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDFUL_")}
    environment |= {f"HANDFUL_{name}": value for name, value in told.items()} | {"OMP_NUM_THREADS": "1"}
    return [sys.executable, "-m", "service", "serve"], environment


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that the tests of this session share: the shipped base models, and one called `toy`."""
    from tests.engine.toy_tasks import save_toy_base_model  # noqa: PLC0415  # torch, once a test needs it

    folder = tmp_path_factory.mktemp("service")
    (folder / "models").mkdir()
    save_toy_base_model(folder / "models" / "toy.safetensors")
    with running_service(folder, BASE_MODELS_DIR=str(folder / "models")) as url:
        yield url
