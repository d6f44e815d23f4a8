"""The service as a process: quick to answer, alone on its data, honest about what is wrong, orderly at its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.app import serve
from service.errors import SetupError
from service.settings import load_settings
from tests.api.toy_service import create, png
from tests.engine.toy_tasks import save_toy_base_model

START_S = 60.0
KEY = "a-long-random-key"


@dataclass(frozen=True)
class Running:
    """A service that was started, and a client of it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def wait_for(self, path: str, status: int) -> httpx.Response:
        deadline = time.monotonic() + START_S
        while True:
            try:
                response = self.client.get(path)
            except httpx.TransportError:
                response = None
            if response is not None and response.status_code == status:
                return response
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)


def command(folder: Path, **settings: str) -> tuple[list[str], dict[str, str]]:
    told = {"DATA_DIR": str(folder / "data"), "DEVICE": "cpu", "DRAIN_S": "0"} | settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDFUL_")}
    environment |= {f"HANDFUL_{name}": value for name, value in told.items()} | {"OMP_NUM_THREADS": "1"}
    return [sys.executable, "-m", "service", "serve"], environment


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Running]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments, environment = command(folder, PORT=str(port), **settings)
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=stream, stderr=stream)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield Running(process, client, log)
    finally:
        process.kill()
        process.wait(10)


def refused(folder: Path, **settings: str) -> str:
    """What a service says that does not start."""
    arguments, environment = command(folder, **({"PORT": "0"} | settings))
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, timeout=START_S, check=False)
    assert done.returncode == 1, done.stderr
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    save_toy_base_model(tmp_path / "models" / "toy.safetensors")
    return tmp_path


def test_a_service_starts_alone_and_ends_in_order(folder: Path) -> None:
    """One start for several truths, because a start takes seconds."""
    settings = {"DRAIN_S": "1.5", "BASE_MODELS_DIR": "models", "API_KEY": KEY, "HOST": "0.0.0.0", "LOG_FORMAT": "json"}
    with running(folder, **settings) as service:
        # the listener answers long before the worker is warm
        starting = service.wait_for("/livez", 200)
        assert starting.json() == {"status": "live"}
        service.wait_for("/readyz", 200)

        # a second service on the same data refuses in one sentence
        assert "another service is running on the data folder" in refused(folder)

        # the key is asked for
        assert service.client.get("/v1/tasks").status_code == 401
        assert service.client.get("/v1/tasks", headers={"X-API-Key": KEY}).json()["items"] == []
        assert service.client.get("/docs").status_code == 200
        assert service.client.get("/openapi.json").status_code == 401

        # a task is adapted by the worker process and answers
        service.client.headers.update({"Authorization": f"Bearer {KEY}", "X-Request-Id": "the-create"})
        task = create(service.client)
        prediction = service.client.post(f"/v1/tasks/{task['id']}/predict", content=png(1, seed=99)).json()
        assert prediction["predictions"][0]["label"] == "top right"

        # the API process has no torch and no card; the worker has
        modules = Path(f"/proc/{service.process.pid}/maps").read_text()
        assert "libtorch" not in modules

        # after SIGTERM it still answers, says that it ends, and closes each connection
        service.process.send_signal(signal.SIGTERM)
        draining = service.wait_for("/readyz", 503)
        assert draining.headers["connection"] == "close"
        assert draining.json()["errors"][0]["code"] == "draining"
        assert service.client.get("/livez").status_code == 200
        assert service.process.wait(20) == 0
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert [line["message"] for line in lines if "ready: device cpu" in line["message"]]

    # a request has one name in the lines of both processes
    of_create = {line["logger"] for line in lines if line.get("request_id") == "the-create"}
    assert {"handful.access", "service.engine.serving"} <= of_create
    assert KEY not in service.log.read_text()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"host": "0.0.0.0"}, "HANDFUL_API_KEY is not set"),
        ({"database_url": "mysql://localhost/handful"}, "mysql"),
        ({"database_url": "sqlite:///empty.db"}, "handful migrate"),
        ({"data_dir": "/proc/handful"}, "cannot be written"),
    ],
)
def test_what_cannot_run_says_why_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.app.configure_logging", lambda _: None)
    with pytest.raises(SetupError, match=sentence) as caught:
        serve(load_settings(**settings))
    assert "\n" not in caught.value.message


def test_a_damaged_base_model_ends_the_process_with_one_sentence(folder: Path) -> None:
    path = folder / "models" / "toy.safetensors"
    path.write_bytes(path.read_bytes()[:-200])
    assert "toy.safetensors" in refused(folder, BASE_MODELS_DIR="models").splitlines()[-1]


def test_a_port_that_is_taken_ends_the_process_with_one_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused(folder, PORT=str(taken.getsockname()[1]))
    assert "cannot listen on" in said.splitlines()[-1]


def test_the_api_process_imports_no_torch() -> None:
    script = "import sys, service.app, service.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
