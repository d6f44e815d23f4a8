"""The end of the service: what was sent is answered, a second signal ends it at once, and no process stays behind."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.api.toy_service import create, png
from tests.engine.toy_tasks import save_toy_base_model
from tests.running import Started, started

PATIENCE_S = 60.0
N_CLIENTS = 12


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the toy base model, which starts quickly."""
    save_toy_base_model(tmp_path / "toy.safetensors")
    return tmp_path


def workers(service: Started) -> list[int]:
    """The processes that the service has started."""
    threads = Path(f"/proc/{service.process.pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def is_draining(service: Started) -> bool:
    try:
        return "connection" in httpx.get(service.url + "/readyz").headers
    except httpx.TransportError:
        return False


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


def test_nothing_that_was_sent_before_the_end_is_reset(folder: Path) -> None:
    with started(folder, BASE_MODELS_DIR=".", DRAIN_S="0.5") as service:
        service.wait_until_ready()
        with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as client:
            task = create(client)["id"]
        load = Load(f"{service.url}/v1/tasks/{task}/predict")
        slow_answers: list[int] = []
        threads = [*load.threads, threading.Thread(target=slow_create, args=(service.url, slow_answers))]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        (worker,) = workers(service)

        service.process.send_signal(signal.SIGTERM)
        status = service.process.wait(PATIENCE_S)
        for thread in threads:
            thread.join()

        assert slow_answers == [201]
        assert load.outcomes.pop("ConnectError") == N_CLIENTS
        assert set(load.outcomes) == {"200"}
        assert status == 0
        assert has_ended(worker)


def test_a_second_signal_ends_it_at_once_and_its_worker_too(folder: Path) -> None:
    with started(folder, BASE_MODELS_DIR=".", DRAIN_S="600") as service:
        wait_until(lambda: bool(workers(service)))
        (worker,) = workers(service)
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_draining(service))
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(5) == 128 + signal.SIGTERM
        wait_until(lambda: has_ended(worker), 5)


def test_a_service_killed_while_it_starts_leaves_no_worker(folder: Path) -> None:
    with started(folder, BASE_MODELS_DIR=".") as service:
        wait_until(lambda: bool(workers(service)))
        (worker,) = workers(service)
        service.process.kill()
        wait_until(lambda: has_ended(worker), 5)


def test_a_service_killed_while_it_serves_leaves_no_worker(folder: Path) -> None:
    with started(folder, BASE_MODELS_DIR=".") as service:
        service.wait_until_ready()
        (worker,) = workers(service)
        service.process.kill()
        wait_until(lambda: has_ended(worker), 5)
