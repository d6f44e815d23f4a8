"""Two services with a worker each on one PostgreSQL database and one folder: they act as one."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from service.client import Client, Task
from service.errors import TaskNotFound
from tests.api.toy_service import png
from tests.databases import migrated_postgresql_url, postgresql_url
from tests.engine.toy_tasks import save_toy_base_model
from tests.running import Started, started

__all__ = ["migrated_postgresql_url", "postgresql_url"]

SEEN_AFTER_S = 1.0
LABELS = ("top left", "top right")


@dataclass(frozen=True)
class Pair:
    """The two, and a client of each."""

    services: tuple[Started, Started]
    one: Client
    two: Client


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, migrated_postgresql_url: str) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "models").mkdir()
    save_toy_base_model(folder / "models" / "toy.safetensors")
    settings = {"DATABASE_URL": migrated_postgresql_url, "BASE_MODELS_DIR": "models", "LEASE_S": "3"}
    with started(folder, **settings) as first, started(folder, **settings) as second:
        first.wait_until_ready()
        second.wait_until_ready()
        with Client(first.url) as one, Client(second.url) as two:
            yield Pair((first, second), one, two)


def examples(n_shot: int = 2) -> list[tuple[str, bytes]]:
    return [(label, png(index, seed=shot)) for shot in range(n_shot) for index, label in enumerate(LABELS)]


@pytest.fixture
def task(pair: Pair) -> Task:
    return pair.one.create_task(None, examples(), base_model="toy", wait_s=30)


def test_what_one_makes_the_other_answers(pair: Pair, task: Task) -> None:
    assert pair.two.predict(task, png(1, seed=9)).label == "top right"


def test_a_new_version_serves_everywhere_within_a_second(pair: Pair, task: Task) -> None:
    assert (pair.one.predict(task, png(0)).version, pair.two.predict(task, png(0)).version) == (1, 1)
    assert pair.two.adapt(task, learner="protonet", wait_s=30).state == "ready"
    time.sleep(SEEN_AFTER_S)
    assert (pair.one.predict(task, png(0)).version, pair.two.predict(task, png(0)).version) == (2, 2)


def test_a_deleted_task_is_gone_everywhere_within_a_second(pair: Pair, task: Task) -> None:
    pair.two.predict(task, png(0))
    pair.one.delete_task(task)
    time.sleep(SEEN_AFTER_S)
    with pytest.raises(TaskNotFound):
        pair.two.predict(task, png(0))


def test_every_version_gets_one_result_whoever_makes_it(pair: Pair, task: Task) -> None:
    with ThreadPoolExecutor(8) as pool:
        making = [pool.submit(client.adapt, task, wait_s=30) for client in (pair.one, pair.two) * 10]
        made = [adapted.result(60) for adapted in making]
    assert {version.state for version in made} == {"ready"}
    assert sorted(version.number for version in made) == list(range(2, 22))
    seen = [sorted((item.number, item.state) for item in client.versions(task)) for client in (pair.one, pair.two)]
    assert seen[0] == seen[1] == [(number, "ready") for number in range(1, 22)]


def test_a_key_that_one_has_seen_is_known_to_the_other(pair: Pair) -> None:
    first = pair.one.create_task(None, examples(), base_model="toy", idempotency_key="seen-by-both")
    assert pair.two.create_task(None, examples(), base_model="toy", idempotency_key="seen-by-both").id == first.id


def test_requests_with_one_key_to_both_make_one_task(pair: Pair) -> None:
    with ThreadPoolExecutor(8) as pool:
        making = [
            pool.submit(client.create_task, None, examples(), base_model="toy", idempotency_key="at-the-same-time")
            for client in (pair.one, pair.two) * 4
        ]
        assert len({made.result(60).id for made in making}) == 1


@pytest.mark.slow
def test_what_one_leaves_when_it_dies_the_other_finishes(pair: Pair) -> None:
    """The last test of this file: the first service is gone afterwards."""
    with ThreadPoolExecutor(20) as pool:
        making = [pool.submit(post, pair.services[0].url) for _ in range(20)]
        ids = [made.result(60) for made in making]
    pair.services[0].process.kill()
    assert {pair.two.wait_until_ready(task_id, timeout_s=40).current_version for task_id in ids} == {1}
    assert {pair.two.predict(task_id, png(0, seed=9)).label for task_id in ids} == {"top left"}


def post(url: str) -> str:
    parts = [("files", ("image.png", data)) for _, data in examples()]
    form = {"labels": [label for label, _ in examples()], "base_model": "toy", "wait": "0"}
    answer = httpx.post(f"{url}/v1/tasks", files=parts, data=form, timeout=60)
    assert answer.status_code == 202
    return str(answer.json()["id"])
