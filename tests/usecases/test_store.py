"""What is kept of uploads, and for how long: on the disk, too."""

import asyncio
import os
from pathlib import Path

import pytest

from service.errors import (
    ExamplesNotKept,
    InvalidOption,
    InvalidSupportSet,
    OriginalNotKept,
    TaskNotFound,
    WorkerDied,
)
from service.persistence.versions import VersionRows
from service.usecases.life import TaskUpdate
from service.usecases.new_tasks import NewTask
from service.usecases.sweeping import Sweeper
from service.usecases.views import TaskView
from tests.usecases.conftest import House, dark_and_bright, labelled, png, save_base_model, upload

ORIGINALS = frozenset(each.upload.read() for each in dark_and_bright())


def files(house: House) -> list[Path]:
    return [path for path in (house.folder / "artifacts").rglob("*") if path.is_file()]


async def swept(house: House) -> list[bytes]:
    """What is on the disk once all that nobody names was old enough to go."""
    for path in files(house):
        os.utime(path, (0, 0))
    await Sweeper(house.database, house.artifacts, house.serving).sweep()
    return [path.read_bytes() for path in files(house)]


async def label_of(house: House, task: TaskView, level: int = 60) -> str:
    answer = await house.predictions.predict(task.id, [upload(png(level))], deadline_s=5)
    return answer.predictions[0].label


async def test_a_task_keeps_its_images_unless_it_is_told_otherwise(house: House) -> None:
    task = await house.ready_task()
    assert task.store == "images"
    assert set(await swept(house)) >= ORIGINALS


async def test_of_a_task_that_keeps_features_no_image_is_left_on_the_disk(house: House) -> None:
    task = await house.ready_task(store="features")
    left = await swept(house)
    assert len(left) == 2
    assert not ORIGINALS & set(left)
    (example, *_) = (await house.tasks.examples(task.id, limit=10)).items
    assert not example.has_original
    with pytest.raises(OriginalNotKept):
        await house.tasks.example_bytes(task.id, example.id)


async def test_a_task_that_keeps_features_is_adapted_again_without_an_image(house: House) -> None:
    task = await house.ready_task(store="features")
    await swept(house)
    await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    version, _ = await house.tasks.adapt(task.id, wait_s=5)
    assert (version.state, len(house.engine.requests[-1].pixels)) == ("ready", 1)
    assert await label_of(house, task, 128) == "middle"
    assert png(128) not in await swept(house)


async def test_a_task_that_keeps_nothing_leaves_its_parameters_and_nothing_else(house: House) -> None:
    task = await house.ready_task(store="nothing")
    assert len(await swept(house)) == 1
    assert (await house.tasks.examples(task.id, limit=10)).items == ()
    assert [(each.label, each.n_examples) for each in task.classes] == [("dark", 0), ("bright", 0)]
    house.serving.drop(task.id)
    assert await label_of(house, task) == "dark"


async def test_a_task_that_keeps_nothing_refuses_what_needs_examples(house: House) -> None:
    task = await house.ready_task(store="nothing")
    with pytest.raises(ExamplesNotKept):
        await house.tasks.adapt(task.id, wait_s=5)
    with pytest.raises(ExamplesNotKept):
        await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    with pytest.raises(ExamplesNotKept):
        await house.feedback.give(task.id, labelled(("dark", png(1))), adapt=True, wait_s=5)
    assert (house.engine.taken, len(house.engine.requests)) == (0, 1)


async def test_an_adaptation_that_waits_has_its_images_although_the_one_before_forgot_them(house: House) -> None:
    task = await house.tasks.create_empty(NewTask(base_model="photo", store="nothing"))
    await house.tasks.add_examples(task.id, dark_and_bright())
    house.engine.open_gate.clear()
    await house.tasks.adapt(task.id, wait_s=0)
    await house.tasks.adapt(task.id, wait_s=0)
    house.engine.open_gate.set()
    await house.tasks.stop()
    assert [(each.number, each.state) for each in (await house.tasks.versions(task.id, limit=10)).items] == [
        (2, "ready"),
        (1, "ready"),
    ]
    assert len(await swept(house)) == 1


async def test_images_stay_until_a_version_is_ready(house: House) -> None:
    house.engine.failures.append(InvalidSupportSet("no"))
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright(), store="nothing"), wait_s=5)
    assert task.state == "failed"
    assert set(await swept(house)) >= ORIGINALS
    await house.tasks.adapt(task.id, wait_s=5)
    assert len(await swept(house)) == 1


@pytest.mark.parametrize("store", ["features", "nothing"])
async def test_what_a_crash_leaves_is_kept_no_longer(house: House, store: str) -> None:
    house.engine.failures.append(WorkerDied("killed"))
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright(), store=store), wait_s=5)
    assert task.current_version is None
    await house.tasks.stop()
    assert set(await swept(house)) >= ORIGINALS
    await house.restart()
    async with asyncio.timeout(10):
        while not await asyncio.sleep(0.05, (await house.tasks.get(task.id)).current_version):
            pass
    assert not ORIGINALS & set(await swept(house))


async def test_a_stricter_store_acts_at_once(house: House) -> None:
    task = await house.ready_task()
    await house.life.update(task.id, TaskUpdate({"store": "features"}))
    assert len(await swept(house)) == 2
    changed = await house.life.update(task.id, TaskUpdate({"store": "nothing"}))
    assert (len(await swept(house)), changed.n_examples) == (1, 0)
    assert await label_of(house, task) == "dark"


async def test_a_learner_that_needs_the_images_is_refused_where_they_are_not_kept(house: House) -> None:
    with pytest.raises(InvalidOption, match="adapts the whole network"):
        await house.tasks.create(NewTask(uploads=dark_and_bright(), learner="maml", store="features"), wait_s=5)
    task = await house.ready_task(store="features")
    with pytest.raises(InvalidOption, match="adapts the whole network"):
        await house.tasks.adapt(task.id, wait_s=5, learner="maml")
    await house.life.update(task.id, TaskUpdate({"store": "images"}))
    with pytest.raises(ExamplesNotKept, match="add the images again"):
        await house.tasks.adapt(task.id, wait_s=5, learner="maml")


async def test_a_task_can_learn_from_the_whole_network_and_then_keep_nothing(house: House) -> None:
    task = await house.ready_task(learner="maml", store="nothing")
    assert await label_of(house, task, 190) == "bright"
    assert len(await swept(house)) == 1


async def test_features_of_another_base_model_do_not_stand_in_for_images(house: House) -> None:
    task = await house.ready_task(store="features")
    save_base_model(
        house.folder / "models" / "photo.safetensors", id_="photo", suits="photographs", channels=3, note="newer"
    )
    house.base_models = type(house.base_models)([house.folder / "models"])
    await house.tasks.stop()
    await house.restart()
    with pytest.raises(ExamplesNotKept, match="add the images again"):
        await house.tasks.adapt(task.id, wait_s=5)


async def test_a_task_is_removed_with_its_files_when_its_time_is_over(house: House) -> None:
    task = await house.ready_task()
    kept = await house.ready_task(uploads=labelled(("a", png(1)), ("b", png(254))), keep_s=3600)
    assert await label_of(house, task) == "dark"
    await house.life.update(task.id, TaskUpdate({"keep_s": 1}))
    await asyncio.sleep(1.1)
    await Sweeper(house.database, house.artifacts, house.serving).expire()
    with pytest.raises(TaskNotFound):
        await label_of(house, task)
    assert (await house.tasks.get(kept.id)).state == "ready"
    assert not ORIGINALS & set(await swept(house))


async def test_a_task_whose_time_is_over_is_gone_before_it_is_swept(house: House) -> None:
    task = await house.ready_task(keep_s=3600)
    await house.life.update(task.id, TaskUpdate({"keep_s": 1}))
    assert await label_of(house, task) == "dark"
    await asyncio.sleep(1.01)
    with pytest.raises(TaskNotFound):
        await label_of(house, task)
    with pytest.raises(TaskNotFound):
        await house.tasks.get(task.id)
    with pytest.raises(TaskNotFound):
        await house.tasks.version(task.id, 1)
    with pytest.raises(TaskNotFound):
        await house.life.update(task.id, TaskUpdate({"keep_s": None}))
    with pytest.raises(TaskNotFound):
        await house.tasks.delete(task.id)
    assert (await house.tasks.list(limit=10)).items == ()


async def test_a_task_whose_time_is_over_before_it_is_adapted_is_told_as_it_was_stored(house: House) -> None:
    house.engine.open_gate.clear()
    task, is_over = await house.tasks.create(NewTask(uploads=dark_and_bright(), keep_s=1), wait_s=1.1)
    house.engine.open_gate.set()
    assert (task.state, is_over) == ("queued", False)
    with pytest.raises(TaskNotFound):
        await house.tasks.get(task.id)


async def test_nobody_adapts_a_task_whose_time_is_over(house: House) -> None:
    house.engine.failures.append(WorkerDied("killed"))
    await house.tasks.create(NewTask(uploads=dark_and_bright(), keep_s=1), wait_s=5)
    await house.tasks.stop()
    await asyncio.sleep(1.01)
    assert await VersionRows(house.database).free() is None


async def test_a_task_whose_time_is_over_while_it_is_adapted_does_not_come_back(house: House) -> None:
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright(), keep_s=1), wait_s=0)
    await asyncio.sleep(1.1)
    await Sweeper(house.database, house.artifacts, house.serving).expire()
    house.engine.open_gate.set()
    await house.tasks.stop()
    with pytest.raises(TaskNotFound):
        await house.tasks.get(task.id)
    assert await swept(house) == []
