"""Two processes on one PostgreSQL database and one folder of artifacts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import TaskNotFound
from service.persistence.ids import new_id
from service.persistence.records import Lease, TaskSnapshot, VersionRecord
from service.persistence.versions import VersionRows
from service.usecases.adaptations import Adaptations
from service.usecases.life import TaskUpdate
from service.usecases.new_tasks import NewTask
from service.usecases.progress import Progress
from service.usecases.supports import Supports
from service.usecases.sweeping import Sweeper
from tests.usecases.conftest import House, dark_and_bright, labelled, open_house, png, upload


@pytest.fixture
async def replicas(migrated_postgresql_url: str, tmp_path: Path) -> AsyncIterator[tuple[House, House]]:
    async with (
        open_house(migrated_postgresql_url, tmp_path) as one,
        open_house(migrated_postgresql_url, tmp_path) as two,
    ):
        yield one, two


async def test_a_task_made_by_one_process_is_answered_by_the_other(replicas: tuple[House, House]) -> None:
    one, two = replicas
    task = await one.ready_task(metadata={"site": "north"})
    answer = await two.predictions.predict(task.id, [upload(png(60))], deadline_s=5)
    assert answer.predictions[0].label == "dark"
    await two.tasks.add_examples(task.id, labelled(("middle", png(128))))
    version, is_finished = await two.tasks.adapt(task.id, wait_s=5)
    assert (version.number, version.state, is_finished) == (2, "ready", True)
    assert len((await one.tasks.list(limit=10, state="ready", metadata={"site": "north"})).items) == 1


async def test_a_change_by_one_process_is_seen_by_the_other_within_a_second(replicas: tuple[House, House]) -> None:
    one, two = replicas
    task = await one.ready_task()
    await two.predictions.predict(task.id, [upload(png(60))], deadline_s=5)
    await one.tasks.delete(task.id)
    await asyncio.sleep(1.1)
    with pytest.raises(TaskNotFound):
        await two.predictions.predict(task.id, [upload(png(60))], deadline_s=5)


async def test_a_process_that_starts_leaves_the_running_work_of_the_other_alone(replicas: tuple[House, House]) -> None:
    one, two = replicas
    one.engine.open_gate.clear()
    task, _ = await one.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    await two.restart()
    await asyncio.sleep(0.3)
    assert two.engine.requests == []
    one.engine.open_gate.set()
    await one.tasks.stop()
    assert (await two.tasks.get(task.id)).state == "ready"


async def test_what_a_dead_process_left_is_finished_by_the_other_when_its_lease_runs_out(
    replicas: tuple[House, House],
) -> None:
    one, two = replicas
    task = await one.tasks.create_empty(NewTask(base_model="photo"))
    await one.tasks.add_examples(task.id, dark_and_bright())
    card = one.base_models.get("photo")

    def plan(_task: TaskSnapshot) -> VersionRecord:
        return VersionRecord(new_id(), "ridge", card.id, card.digest, {"penalty": 1.0, "prior": "balanced"})

    await VersionRows(one.database).create(task.id, plan, Lease("a process that is dead", 0.3))
    supports = Supports(two.database, two.artifacts, two.base_models, two.decoder)
    living = Adaptations(two.database, two.engine, supports, two.serving, lease_s=0.3)
    await living.start()
    await asyncio.wait_for(two.engine.arrivals.acquire(), 10)
    await living.stop(5)
    assert (await one.tasks.get(task.id)).state == "ready"


async def test_an_activation_and_a_threshold_are_seen_by_the_other_within_a_second(
    replicas: tuple[House, House],
) -> None:
    one, two = replicas
    task = await one.ready_task()
    await one.tasks.adapt(task.id, wait_s=5)
    await two.predictions.predict(task.id, [upload(png(128))], deadline_s=5)
    await one.life.activate(task.id, 1)
    await one.life.update(task.id, TaskUpdate({"threshold": 0.99}))
    await asyncio.sleep(1.1)
    answer = await two.predictions.predict(task.id, [upload(png(128))], deadline_s=5)
    assert (answer.version, answer.predictions[0].below_threshold) == (1, True)


async def test_an_adaptation_by_one_process_is_watched_by_the_other(replicas: tuple[House, House]) -> None:
    one, two = replicas
    one.engine.open_gate.clear()
    task, _ = await one.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    progress = Progress(two.database, is_ending=lambda: False)
    states = []
    async for change in progress.watch(task.id, await progress.look(task.id, 1)):
        states += [] if change is None else [change.state]
        one.engine.open_gate.set()
    assert (states[0], states[-1]) == ("queued", "ready")


async def test_a_server_database_forgets_what_a_task_does_not_keep(replicas: tuple[House, House]) -> None:
    one, two = replicas
    features, nothing = [await one.ready_task(store=store) for store in ("features", "nothing")]
    assert [each.has_original for each in (await two.tasks.examples(features.id, limit=10)).items] == [False] * 4
    assert (await two.tasks.get(nothing.id)).n_examples == 0
    await one.life.update(features.id, TaskUpdate({"keep_s": 1}))
    await one.life.update(nothing.id, TaskUpdate({"keep_s": 1}))
    await asyncio.sleep(1.1)
    await Sweeper(two.database, two.artifacts, two.serving).expire()
    assert not {features.id, nothing.id} & {task.id for task in (await one.tasks.list(limit=10)).items}
