"""Watching an adaptation."""

from collections.abc import AsyncIterator

import pytest

from service.errors import InvalidSupportSet, TaskNotFound, VersionNotFound
from service.usecases.new_tasks import NewTask
from service.usecases.progress import Progress
from service.usecases.views import ProgressView, TaskView
from tests.usecases.conftest import House, dark_and_bright


def watching(house: House) -> Progress:
    return Progress(house.database, is_ending=lambda: False)


async def changes(house: House, task: TaskView, number: int = 1) -> AsyncIterator[ProgressView]:
    """What a watcher is told, looks without a change left out."""
    progress = watching(house)
    async for change in progress.watch(task.id, await progress.look(task.id, number)):
        if change is not None:
            yield change


async def held_up(house: House) -> TaskView:
    """A task whose first adaptation does not get on."""
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    return task


async def test_an_adaptation_is_watched_from_the_queue_to_its_end(house: House) -> None:
    task = await held_up(house)
    told = []
    async for change in changes(house, task):
        told.append((change.state, change.place, change.progress))
        if change.progress is not None:
            house.engine.open_gate.set()
    assert told[0] == ("queued", 0, None)
    assert told[-2:] == [("adapting", None, 0.5), ("ready", None, None)]


async def test_the_end_of_a_failed_adaptation_tells_why(house: House) -> None:
    task = await house.ready_task()
    house.engine.failures.append(InvalidSupportSet("no"))
    await house.tasks.adapt(task.id, wait_s=5)
    (told,) = [change async for change in changes(house, task, 2)]
    assert (told.state, told.version.error.detail if told.version.error else None) == ("failed", "no")


async def test_the_place_counts_what_was_there_before(house: House) -> None:
    await held_up(house)
    second, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    assert (await watching(house).look(second.id, 1)).place == 1
    house.engine.open_gate.set()


async def test_a_task_that_is_removed_ends_the_watching(house: House) -> None:
    task = await held_up(house)
    told = changes(house, task)
    await anext(told)
    await house.tasks.delete(task.id)
    with pytest.raises(TaskNotFound):
        async for _ in told:
            pass
    house.engine.open_gate.set()


async def test_a_process_that_ends_stops_watching(house: House) -> None:
    task = await held_up(house)
    progress = Progress(house.database, is_ending=lambda: True)
    told = [change async for change in progress.watch(task.id, await progress.look(task.id, 1))]
    assert [change.state for change in told if change] == ["queued"]
    house.engine.open_gate.set()


async def test_a_version_that_does_not_exist_cannot_be_watched(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(VersionNotFound):
        await watching(house).look(task.id, 2)


async def test_progress_does_not_outlast_the_adaptation(house: House) -> None:
    task = await held_up(house)
    shares = []
    async for change in changes(house, task):
        shares.append((await house.tasks.version(task.id, 1)).progress)
        if change.progress is not None:
            house.engine.open_gate.set()
    assert 0.5 in shares
    assert shares[-1] is None
