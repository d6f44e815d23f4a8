"""Predictions, and what is kept of the versions that give them."""

import asyncio
from uuid import uuid4

import pytest

from service.errors import (
    BaseModelGone,
    DeadlineExceeded,
    InvalidOption,
    InvalidRequest,
    RequestTooLarge,
    TaskNotFound,
    TaskNotReady,
    UploadRejected,
    VersionNotFound,
)
from service.persistence.tasks import TaskRows
from service.usecases.base_models import BaseModels
from service.usecases.new_tasks import NewTask
from service.usecases.serving import ServingVersions
from tests.usecases.conftest import House, dark_and_bright, labelled, png, save_base_model, upload


async def test_each_image_gets_every_class_by_falling_probability(house: House) -> None:
    task = await house.ready_task()
    answer = await house.predictions.predict(
        task.id, [upload(png(60), "a.png"), upload(png(199), "b.png")], deadline_s=5
    )
    assert (answer.task_id, answer.version) == (task.id, 1)
    assert [(each.filename, each.label) for each in answer.predictions] == [("a.png", "dark"), ("b.png", "bright")]
    scores = answer.predictions[1].scores
    assert [score.label for score in scores] == ["bright", "dark"]
    assert scores[0].probability == answer.predictions[1].probability > scores[1].probability
    assert sum(score.probability for score in scores) == pytest.approx(1, abs=1e-6)
    assert set(answer.timings_ms) == {"decode", "engine", "total"}


@pytest.mark.parametrize(("top_k", "n_scores"), [(1, 1), (2, 2), (50, 2)])
async def test_scores_are_cut_at_top_k(house: House, top_k: int, n_scores: int) -> None:
    task = await house.ready_task()
    answer = await house.predictions.predict(task.id, [upload(png(60))], top_k=top_k, deadline_s=5)
    assert len(answer.predictions[0].scores) == n_scores


async def test_an_older_version_answers_when_it_is_asked_for(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    await house.tasks.adapt(task.id, wait_s=5)
    answer = await house.predictions.predict(task.id, [upload(png(128))], version=1, deadline_s=5)
    assert answer.version == 1
    assert {score.label for score in answer.predictions[0].scores} == {"dark", "bright"}


async def test_a_large_image_is_decoded_too(house: House) -> None:
    task = await house.ready_task()
    answer = await house.predictions.predict(task.id, [upload(png(60, side_px=450))], deadline_s=5)
    assert answer.predictions[0].label == "dark"


async def test_every_bad_image_of_a_prediction_is_named(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(UploadRejected, match="1 of 2 images") as caught:
        await house.predictions.predict(task.id, [upload(png(60)), upload(b"", "empty.png")], deadline_s=5)
    item = caught.value.items[0]
    assert (item.pointer, item.code, item.filename) == ("/files/1", "empty-file", "empty.png")
    assert house.engine.predictions == []


async def test_more_images_than_a_prediction_may_have_are_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(RequestTooLarge):
        await house.predictions.predict(task.id, [upload(png(60))] * 9, deadline_s=5)


async def test_a_prediction_of_no_image_is_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidRequest):
        await house.predictions.predict(task.id, [], deadline_s=5)


async def test_a_task_or_version_that_does_not_exist_is_not_found(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(TaskNotFound):
        await house.predictions.predict(uuid4(), [upload(png(60))], deadline_s=5)
    with pytest.raises(VersionNotFound):
        await house.predictions.predict(task.id, [upload(png(60))], version=2, deadline_s=5)
    with pytest.raises(VersionNotFound):
        await house.predictions.predict(task.id, [upload(png(60))], version=2**40, deadline_s=5)


async def test_a_task_that_is_empty_is_not_ready(house: House) -> None:
    task = await house.tasks.create_empty(NewTask())
    with pytest.raises(TaskNotReady, match="is empty"):
        await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)


async def test_a_task_that_failed_is_not_ready(house: House) -> None:
    house.engine.failures.append(InvalidOption("no"))
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5)
    with pytest.raises(TaskNotReady, match="is failed"):
        await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)
    with pytest.raises(TaskNotReady, match=r"version 1 .* is failed"):
        await house.predictions.predict(task.id, [upload(png(60))], version=1, deadline_s=5)


async def test_a_task_answers_as_soon_as_it_is_ready(house: House) -> None:
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    with pytest.raises(TaskNotReady, match="queued"):
        await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)
    house.engine.open_gate.set()
    await house.tasks.stop()
    assert (await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)).version == 1


async def test_a_prediction_ends_at_its_deadline(house: House) -> None:
    task = await house.ready_task()
    house.engine.open_gate.clear()
    with pytest.raises(DeadlineExceeded, match=r"within 0\.1 s"):
        await house.predictions.predict(task.id, [upload(png(60))], deadline_s=0.1)


async def test_a_version_is_never_answered_by_another_base_model(house: House) -> None:
    task = await house.ready_task()
    save_base_model(
        house.folder / "models" / "photo.safetensors", id_="photo", suits="photographs", channels=3, note="better"
    )
    house.base_models = BaseModels([house.folder / "models"])
    await house.restart()
    with pytest.raises(BaseModelGone, match="not loaded"):
        await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)


async def test_a_version_of_a_previous_base_model_goes_on_answering(house: House) -> None:
    task = await house.ready_task()
    models = house.folder / "models"
    (models / "previous").mkdir()
    (models / "photo.safetensors").rename(models / "previous" / "photo.safetensors")
    save_base_model(models / "photo.safetensors", id_="photo", suits="photographs", channels=3, note="better")
    house.base_models = BaseModels([models])
    await house.restart()
    assert (await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)).version == 1


async def test_a_change_through_another_process_is_seen_when_what_is_kept_is_old(house: House) -> None:
    task = await house.ready_task()
    serving = ServingVersions(house.database, max_age_s=0.2)
    await serving.get(task.id, None)
    await TaskRows(house.database).delete(task.id)
    assert (await serving.get(task.id, None)).number == 1
    await asyncio.sleep(0.25)
    with pytest.raises(TaskNotFound):
        await serving.get(task.id, None)


async def test_what_was_read_before_a_change_is_not_kept(house: House) -> None:
    task = await house.ready_task()
    reading = asyncio.create_task(house.serving.get(task.id, None))
    await asyncio.sleep(0)
    house.serving.drop(task.id)
    await reading
    await TaskRows(house.database).delete(task.id)
    with pytest.raises(TaskNotFound):
        await house.serving.get(task.id, None)


async def test_predictions_during_adaptations_are_right(house: House) -> None:
    house.engine.places = 32
    task = await house.ready_task()
    adapting = asyncio.gather(*(house.tasks.adapt(task.id, wait_s=5) for _ in range(8)))
    asking = (house.predictions.predict(task.id, [upload(png(60))], deadline_s=5) for _ in range(64))
    answers = await asyncio.gather(*asking)
    await adapting
    assert {answer.predictions[0].label for answer in answers} == {"dark"}
