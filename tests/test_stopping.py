"""The end of the service: what was sent is answered, a second signal ends it at once, and no process stays behind."""

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.api.toy_service import create, png
from tests.engine.toy_tasks import save_toy_base_model
from tests.running import free_port, serve_command

PATIENCE_S = 60.0
N_CLIENTS = 12


@dataclass(frozen=True)
class Started:
    """A service and its worker, as processes."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def workers(self) -> list[int]:
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]

    def answers(self, path: str, status: int) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(self.url + path).status_code == status
        except httpx.TransportError:
            return False


@dataclass
class Load:
    """Clients that predict one after the other, each on one connection as long as that is kept, until one fails."""

    url: str
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.threads = [threading.Thread(target=self._predict) for _ in range(N_CLIENTS)]

    def _predict(self) -> None:
        with httpx.Client(timeout=PATIENCE_S) as client:
            outcome = "200"
            while outcome == "200":
                try:
                    outcome = str(client.post(self.url, content=png(1)).status_code)
                except httpx.TransportError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Started]:
    save_toy_base_model(folder / "toy.safetensors")
    port = free_port()
    command, environment = serve_command(folder, PORT=str(port), BASE_MODELS_DIR=".", **settings)
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=stream)
    service = Started(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: service.answers("/livez", 200))
        yield service
    finally:
        process.kill()
        process.wait(10)


def wait_until(is_so: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def has_ended(pid: int) -> bool:
    """Whether a process is no more, or only waits for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def slow_create(url: str, answers: list[int]) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"name": '
        time.sleep(1)
        yield b'"slow"}'

    headers = {"Content-Type": "application/json"}
    answers.append(httpx.post(url + "/v1/tasks", content=body(), headers=headers, timeout=PATIENCE_S).status_code)


def test_nothing_that_was_sent_before_the_end_is_reset(tmp_path: Path) -> None:
    with started(tmp_path, DRAIN_S="0.5") as service:
        wait_until(lambda: service.answers("/readyz", 200))
        with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as client:
            task = create(client)["id"]
        load = Load(f"{service.url}/v1/tasks/{task}/predict")
        slow_answers: list[int] = []
        threads = [*load.threads, threading.Thread(target=slow_create, args=(service.url, slow_answers))]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        (worker,) = service.workers

        service.process.send_signal(signal.SIGTERM)
        status = service.process.wait(PATIENCE_S)
        for thread in threads:
            thread.join()

        assert slow_answers == [201]
        assert load.outcomes.pop("ConnectError") == N_CLIENTS
        assert set(load.outcomes) == {"200"}
        assert status == 0
        assert has_ended(worker)


def test_a_second_signal_ends_it_at_once_and_its_worker_too(tmp_path: Path) -> None:
    with started(tmp_path, DRAIN_S="600") as service:
        wait_until(lambda: bool(service.workers))
        (worker,) = service.workers
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: service.answers("/readyz", 503))
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(5) == 128 + signal.SIGTERM
        wait_until(lambda: has_ended(worker), 5)


@pytest.mark.parametrize("is_ready", [False, True])
def test_a_killed_service_leaves_no_worker(tmp_path: Path, is_ready: bool) -> None:
    with started(tmp_path) as service:
        wait_until(lambda: bool(service.workers) and (not is_ready or service.answers("/readyz", 200)))
        (worker,) = service.workers
        service.process.kill()
        wait_until(lambda: has_ended(worker), 5)
