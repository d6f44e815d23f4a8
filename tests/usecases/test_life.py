"""Changing a task: name, metadata, threshold, classes, the version that serves."""

import asyncio
from uuid import uuid4

import pytest

from service.errors import (
    BaseModelGone,
    InvalidRequest,
    InvalidSupportSet,
    TaskNotFound,
    TaskNotReady,
    VersionNotFound,
)
from service.usecases.base_models import BaseModels
from service.usecases.life import TaskLife, TaskUpdate
from service.usecases.new_tasks import NewTask
from service.usecases.views import TaskView
from tests.usecases.conftest import LIMITS, House, dark_and_bright, labelled, png, upload


async def answered_by(house: House, task: TaskView) -> int:
    return (await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)).version


async def is_marked(house: House, task: TaskView, level: int = 128) -> bool:
    answer = await house.predictions.predict(task.id, [upload(png(level))], deadline_s=5)
    return answer.predictions[0].below_threshold


async def test_a_task_is_changed_where_the_client_says_and_nowhere_else(house: House) -> None:
    task = await house.ready_task(name="lamps", metadata={"line": "3", "site": "north"})
    changed = await house.life.update(task.id, TaskUpdate({"name": " bulbs "}, {"line": "4", "site": None}))
    assert (changed.name, changed.metadata, changed.threshold) == ("bulbs", {"line": "4"}, None)
    assert (changed.classes, changed.current_version, changed.store) == (task.classes, 1, "images")
    assert await house.tasks.get(task.id) == changed


async def test_an_empty_change_changes_nothing(house: House) -> None:
    task = await house.ready_task(name="lamps", metadata={"line": "3"})
    changed = await house.life.update(task.id, TaskUpdate())
    assert (changed.name, changed.metadata) == ("lamps", {"line": "3"})


async def test_name_metadata_threshold_and_end_can_be_taken_away(house: House) -> None:
    task = await house.ready_task(name="lamps", metadata={"line": "3"}, threshold=0.7, keep_s=3600)
    assert task.threshold == 0.7
    assert task.expires_at is not None
    nothing = {"name": None, "threshold": None, "keep_s": None}
    changed = await house.life.update(task.id, TaskUpdate(nothing, None))
    assert (changed.name, changed.metadata, changed.threshold, changed.expires_at) == (None, {}, None, None)


@pytest.mark.parametrize(
    "fields", [{"threshold": 1.1}, {"name": "x" * 201}, {"store": "some"}, {"keep_s": 0}, {"keep_s": 1e12}]
)
async def test_a_change_that_cannot_be_is_refused_whole(house: House, fields: dict[str, object]) -> None:
    task = await house.ready_task(name="lamps")
    with pytest.raises(InvalidRequest):
        await house.life.update(task.id, TaskUpdate(fields, {"line": "3"}))
    assert (await house.tasks.get(task.id)).metadata == {}


async def test_metadata_that_would_be_too_much_is_refused_whole(house: House) -> None:
    task = await house.ready_task(metadata={str(number): "" for number in range(50)})
    with pytest.raises(InvalidRequest, match="51 pairs"):
        await house.life.update(task.id, TaskUpdate({"name": "new"}, {"one more": ""}))
    assert (await house.tasks.get(task.id)).name is None


async def test_a_task_that_does_not_exist_cannot_be_changed(house: House) -> None:
    with pytest.raises(TaskNotFound):
        await house.life.update(uuid4(), TaskUpdate({"name": "new"}))
    with pytest.raises(TaskNotFound):
        await house.life.activate(uuid4(), 1)
    with pytest.raises(TaskNotFound):
        await house.classes.remove(uuid4(), "dark")


async def test_answers_below_the_threshold_are_marked_from_the_next_prediction_on(house: House) -> None:
    task = await house.ready_task()
    assert not await is_marked(house, task)
    await house.life.update(task.id, TaskUpdate({"threshold": 0.99}))
    assert await is_marked(house, task)
    assert not await is_marked(house, task, level=65)
    await house.life.update(task.id, TaskUpdate({"threshold": 0.0}))
    assert not await is_marked(house, task)


async def test_an_activated_version_serves_until_another_is(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.adapt(task.id, wait_s=5)
    assert await answered_by(house, task) == 2
    assert (await house.life.activate(task.id, 1)).current_version == 1
    assert await answered_by(house, task) == 1
    assert (await house.life.activate(task.id, 2)).current_version == 2
    assert await answered_by(house, task) == 2


async def test_a_newer_version_takes_over_from_an_activated_one_when_it_is_ready(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.adapt(task.id, wait_s=5)
    house.engine.open_gate.clear()
    await house.tasks.adapt(task.id, wait_s=0)
    await house.life.activate(task.id, 1)
    assert (await house.tasks.get(task.id)).current_version == 1
    house.engine.open_gate.set()
    await house.tasks.stop()
    assert (await house.tasks.get(task.id)).current_version == 3


async def test_a_version_that_is_overtaken_by_a_newer_one_does_not_take_over(house: House) -> None:
    task = await house.ready_task()
    house.engine.open_gate.clear()
    await house.tasks.adapt(task.id, wait_s=0)
    late = house.engine.open_gate
    house.engine.open_gate = asyncio.Event()
    house.engine.open_gate.set()
    await house.tasks.adapt(task.id, wait_s=5)
    await house.life.activate(task.id, 1)
    late.set()
    await house.tasks.stop()
    assert (await house.tasks.version(task.id, 2)).state == "ready"
    assert (await house.tasks.get(task.id)).current_version == 1


async def test_a_version_that_cannot_answer_is_not_activated(house: House) -> None:
    task = await house.ready_task()
    house.engine.failures.append(InvalidSupportSet("no"))
    await house.tasks.adapt(task.id, wait_s=5)
    with pytest.raises(TaskNotReady, match=r"version 2 of task .* is failed"):
        await house.life.activate(task.id, 2)
    with pytest.raises(VersionNotFound):
        await house.life.activate(task.id, 3)
    assert (await house.tasks.get(task.id)).current_version == 1


async def test_a_version_whose_base_model_is_gone_is_not_activated(house: House) -> None:
    task = await house.ready_task()
    life = TaskLife(house.database, BaseModels([]), LIMITS, house.serving)
    with pytest.raises(BaseModelGone):
        await life.activate(task.id, 1)


async def test_adapting_after_an_addition_decodes_only_what_is_new(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    await house.tasks.adapt(task.id, wait_s=5)
    assert [int(image.max()) for image in house.engine.requests[-1].pixels] == [128]


async def test_a_version_that_is_not_to_be_activated_waits_for_it(house: House) -> None:
    task = await house.ready_task()
    version, _ = await house.tasks.adapt(task.id, wait_s=5, activate=False)
    waiting = await house.tasks.get(task.id)
    await house.tasks.adapt(task.id, wait_s=5)
    assert (version.number, version.state, waiting.current_version) == (2, "ready", 1)
    assert (await house.tasks.get(task.id)).current_version == 3


async def test_the_first_version_of_a_task_answers_in_any_case(house: House) -> None:
    task = await house.tasks.create_empty(NewTask())
    await house.tasks.add_examples(task.id, dark_and_bright())
    await house.tasks.adapt(task.id, wait_s=5, activate=False)
    assert (await house.tasks.get(task.id)).current_version == 1
