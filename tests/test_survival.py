"""What was acknowledged is there after `kill -9`, on both databases; a request that is sent again is done once."""

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.artifacts import FileArtifacts
from service.client import Client
from service.persistence.database import Database
from service.persistence.examples import ExampleRows
from service.usecases.serving import ServingVersions
from service.usecases.sweeping import Sweeper
from tests.api.toy_service import png
from tests.databases import migrated_postgresql_url, migrated_sqlite_file, migrated_url, postgresql_url
from tests.engine.toy_tasks import save_toy_base_model
from tests.running import Started, started

__all__ = ["migrated_postgresql_url", "migrated_sqlite_file", "migrated_url", "postgresql_url"]

N_CREATES = 50
KILLED_AFTER = 12
"""Acknowledgements; the other creates are under way, in every stage."""

QUARTERS = ("top left", "top right", "bottom left")


def labels(number: int) -> list[str]:
    """The classes of a create, turned by its number, so that an answer of another task would be seen."""
    return [QUARTERS[(index + number) % 3] + f" of {number}" for index in range(3)]


def images(number: int) -> list[tuple[str, bytes]]:
    return [
        (label, png(index, seed=100 * number + shot)) for shot in range(2) for index, label in enumerate(labels(number))
    ]


@dataclass
class Creates:
    """Fifty clients that create a task each, under a key each, until their service dies."""

    url: str
    acknowledged: dict[int, dict[str, Any]] = field(default_factory=dict)
    enough: threading.Event = field(default_factory=threading.Event)

    def send(self, number: int) -> None:
        parts: list[Any] = [("files", ("image", data)) for _, data in images(number)]
        form = {"labels": [label for label, _ in images(number)], "base_model": "toy", "wait": str(number % 2 * 10)}
        headers = {"Idempotency-Key": str(number)}
        try:
            answer = httpx.post(f"{self.url}/v1/tasks", files=parts, data=form, headers=headers, timeout=60)
        except httpx.TransportError:
            return
        assert answer.status_code in {201, 202}, answer.text
        self.acknowledged[number] = answer.json()
        if len(self.acknowledged) >= KILLED_AFTER:
            self.enough.set()

    def run_until_killed(self, service: Started) -> None:
        with ThreadPoolExecutor(N_CREATES) as pool:
            sending = [pool.submit(self.send, number) for number in range(N_CREATES)]
            assert self.enough.wait(60)
            service.process.kill()
            for sent in sending:
                sent.result(60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    save_toy_base_model(tmp_path / "models" / "toy.safetensors")
    return tmp_path


@pytest.fixture
def settings(migrated_url: str) -> dict[str, str]:
    return {"DATABASE_URL": migrated_url, "BASE_MODELS_DIR": "models", "LEASE_S": "3"}


@pytest.fixture
def creates(folder: Path, settings: dict[str, str]) -> Creates:
    """Creates whose service was killed in the midst of them."""
    with started(folder, **settings) as service:
        service.wait_until_ready()
        creates = Creates(service.url)
        creates.run_until_killed(service)
    return creates


@pytest.mark.slow
async def test_what_was_acknowledged_survives_a_kill_and_is_done_once(
    creates: Creates, folder: Path, settings: dict[str, str]
) -> None:
    assert KILLED_AFTER <= len(creates.acknowledged) < N_CREATES
    assert damaged_files(folder) == []

    with started(folder, **settings) as service:
        service.wait_until_ready()
        with Client(service.url) as client:
            # every acknowledged task is there, becomes ready, answers, and has its images
            for number, told in creates.acknowledged.items():
                assert client.wait_until_ready(told["id"], timeout_s=40).n_examples == 6
                answers = client.predict(told["id"], [png(index, seed=7) for index in range(3)])
                assert [answer.label for answer in answers] == labels(number)
            first_number, first = next(iter(creates.acknowledged.items()))
            stored = [client.example_bytes(first["id"], example) for example in client.examples(first["id"])]
            assert stored == [data for _, data in images(first_number)]

            # sent again, every create is done, those that were acknowledged with the same answer
            ids = {number: send_again(client, number) for number in range(N_CREATES)}
            assert {number: ids[number] for number in creates.acknowledged} == {
                number: told["id"] for number, told in creates.acknowledged.items()
            }
            assert {task.id for task in client.tasks()} == set(ids.values())
            assert len(set(ids.values())) == N_CREATES
            for task_id in ids.values():
                assert client.wait_until_ready(task_id, timeout_s=40).current_version == 1

    assert await orphans_after_sweep(folder, settings["DATABASE_URL"]) == set()


@pytest.mark.slow
def test_clients_that_repeat_do_not_notice_a_restart(folder: Path) -> None:
    settings = {"BASE_MODELS_DIR": "models"}
    with ThreadPoolExecutor(10) as pool:
        with started(folder, **settings) as service:
            service.wait_until_ready()
            port = service.url.rpartition(":")[2]
            making = [pool.submit(make_some, service.url, first) for first in range(0, N_CREATES, 5)]
            time.sleep(0.5)
            service.process.kill()
        with started(folder, PORT=port, **settings) as service:
            ids = {task_id for made in making for task_id in made.result(60)}
            with Client(service.url) as client:
                assert {task.id for task in client.tasks()} == ids
    assert len(ids) == N_CREATES


def make_some(url: str, first: int) -> list[str]:
    with Client(url) as client:
        return [
            client.create_task(None, images(number), base_model="toy", wait_s=0).id
            for number in range(first, first + 5)
        ]


def send_again(client: Client, number: int) -> str:
    return client.create_task(None, images(number), base_model="toy", idempotency_key=str(number)).id


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "data" / "artifacts").rglob("*") if path.is_file()]


def damaged_files(folder: Path) -> list[Path]:
    """Files under a digest that is not theirs; what is half-written has no digest for a name."""
    whole = [path for path in files(folder) if len(path.name) == 64]
    return [path for path in whole if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]


async def orphans_after_sweep(folder: Path, url: str) -> set[str]:
    """The files that no row names once those of before were swept."""
    for path in files(folder):
        os.utime(path, (0, 0))
    database = Database(url)
    artifacts = FileArtifacts(folder / "data" / "artifacts")
    await Sweeper(database, artifacts, ServingVersions(database)).sweep()
    left = {path.name for path in files(folder)}
    named = await ExampleRows(database).named(sorted(left))
    await database.close()
    assert left
    return left - named
