"""A request with a key is done once, whatever dies in between."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from service.errors import EngineBusy, RequestInProgress, StorageFull
from service.persistence.records import Answer, KeyedRequest, Run
from service.usecases.new_tasks import NewTask
from service.usecases.retries import Retries
from tests.usecases.conftest import House, dark_and_bright, labelled, png

REQUEST = KeyedRequest("key", "POST /v1/tasks", "0" * 64)


@dataclass
class Making:
    """A request that creates a task, and what became of it.

    Attributes:
        gate: while it is cleared, the request goes on after the task was stored.
        failures: raised by the next runs, one each, before anything is stored.
    """

    house: House
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    stored: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[Exception] = field(default_factory=list)
    recalled: list[tuple[str, ...]] = field(default_factory=list)

    async def act(self, run: Run) -> Answer:
        if self.failures:
            raise self.failures.pop(0)
        task, _ = await self.house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5, run=run)
        self.stored.set()
        await self.gate.wait()
        return Answer(201, {}, str(task.id).encode())

    async def recall(self, created: tuple[str, ...]) -> Answer:
        self.recalled.append(created)
        return Answer(201, {}, created[0].encode())

    async def send(self, retries: Retries) -> tuple[Answer, bool]:
        return await retries.once(REQUEST, self.act, self.recall)

    async def task_ids(self) -> Sequence[bytes]:
        return [str(task.id).encode() for task in (await self.house.tasks.list(limit=10)).items]


@pytest.fixture
def making(house: House) -> Making:
    making = Making(house)
    making.gate.set()
    return making


async def test_a_request_that_is_sent_again_is_answered_alike_and_makes_nothing(house: House, making: Making) -> None:
    first, was_done = await making.send(Retries(house.database))
    assert not was_done
    assert await making.send(Retries(house.database)) == (first, True)
    assert await making.task_ids() == [first.body]


async def test_a_request_that_failed_is_run_again(house: House, making: Making) -> None:
    making.failures = [EngineBusy("full"), StorageFull("full")]
    retries = Retries(house.database)
    with pytest.raises(EngineBusy):
        await making.send(retries)
    with pytest.raises(StorageFull):
        await making.send(retries)
    answer, was_done = await making.send(retries)
    assert not was_done
    assert await making.task_ids() == [answer.body]


async def test_a_long_request_keeps_its_key(house: House, making: Making) -> None:
    making.gate.clear()
    retries = Retries(house.database, lease_s=0.3)
    running = asyncio.create_task(making.send(retries))
    await making.stored.wait()
    await asyncio.sleep(0.6)
    with pytest.raises(RequestInProgress):
        await making.send(retries)
    making.gate.set()
    assert (await running)[0].status == 201


async def test_what_was_stored_by_a_request_that_was_cut_off_is_found_by_the_next(house: House, making: Making) -> None:
    making.gate.clear()
    cut_off = asyncio.create_task(making.send(Retries(house.database)))
    await making.stored.wait()
    cut_off.cancel()
    await asyncio.wait({cut_off})
    answer, was_done = await making.send(Retries(house.database))
    assert was_done
    assert await making.task_ids() == [answer.body]
    assert await making.send(Retries(house.database)) == (answer, True)
    assert len(making.recalled) == 1


async def test_a_process_that_starts_alone_frees_the_keys_of_the_one_before(house: House, making: Making) -> None:
    making.gate.clear()
    left = asyncio.create_task(making.send(Retries(house.database)))
    await making.stored.wait()
    restarted = Retries(house.database)
    await restarted.start()
    answer, was_done = await making.send(restarted)
    assert was_done
    assert await making.task_ids() == [answer.body]
    making.gate.set()
    await left


async def test_added_examples_and_versions_are_found_by_what_was_noted(house: House) -> None:
    task = await house.ready_task()
    retries = Retries(house.database)
    noted: list[tuple[str, ...]] = []

    async def add(run: Run) -> Answer:
        await house.tasks.add_examples(task.id, labelled(("dark", png(61)), ("bright", png(191))), run=run)
        raise RuntimeError

    async def adapt(run: Run) -> Answer:
        await house.tasks.adapt(task.id, wait_s=5, run=run)
        raise RuntimeError

    async def recall(created: tuple[str, ...]) -> Answer:
        noted.append(created)
        return Answer(201, {}, b"")

    adding, adapting = KeyedRequest("key", "add", ""), KeyedRequest("key", "adapt", "")
    with pytest.raises(RuntimeError):
        await retries.once(adding, add, recall)
    with pytest.raises(RuntimeError):
        await retries.once(adapting, adapt, recall)
    await retries.once(adding, add, recall)
    await retries.once(adapting, adapt, recall)
    stored = (await house.tasks.examples(task.id, limit=10)).items
    assert noted == [tuple(str(each.id) for each in stored[4:]), ("2",)]
    assert [each.id for each in await house.tasks.stored_examples(task.id, [each.id for each in stored[4:]])] == [
        each.id for each in stored[4:]
    ]
