"""Feedback: what was rightly labelled becomes examples, and a version where that is asked for."""

import pytest

from service.errors import InvalidRequest, InvalidSupportSet, UploadRejected
from service.usecases.feedback import Feedback
from service.usecases.new_tasks import NewTask
from service.usecases.tasks import Tasks
from tests.usecases.conftest import LIMITS, Away, House, labelled, png, upload


async def test_feedback_becomes_examples_that_say_so(house: House) -> None:
    task = await house.ready_task()
    given, is_over = await house.feedback.give(task.id, labelled(("dark", png(100))), adapt=False, wait_s=5)
    assert is_over
    assert [(each.label, each.source) for each in given.items] == [("dark", "feedback")]
    assert given.version is None
    assert (await house.tasks.get(task.id)).n_examples == 5
    assert len(house.engine.requests) == 1


async def test_feedback_changes_the_answer_when_the_task_is_adapted_to_it(house: House) -> None:
    task = await house.ready_task()
    image = png(140)
    before = await house.predictions.predict(task.id, [upload(image)], deadline_s=5)
    given, is_over = await house.feedback.give(task.id, labelled(("dark", image)), adapt=True, wait_s=5)
    after = await house.predictions.predict(task.id, [upload(image)], deadline_s=5)
    assert (is_over, given.version, after.version) == (True, 2, 2)
    assert (before.predictions[0].label, after.predictions[0].label) == ("bright", "dark")


async def test_feedback_that_cannot_be_adapted_to_stores_nothing(house: House) -> None:
    task, _ = await house.tasks.create(NewTask(uploads=labelled(("dark", png(60)), ("bright", png(190)))), wait_s=5)
    await house.classes.remove(task.id, "bright")
    with pytest.raises(InvalidSupportSet):
        await house.feedback.give(task.id, labelled(("dark", png(100))), adapt=True, wait_s=5)
    with pytest.raises(UploadRejected):
        await house.feedback.give(task.id, labelled(("dark", b"no image")), adapt=True, wait_s=5)
    with pytest.raises(InvalidRequest, match="no image"):
        await house.feedback.give(task.id, (), adapt=False, wait_s=5)
    assert (await house.tasks.get(task.id)).n_examples == 1
    assert house.engine.taken == 0


@pytest.mark.parametrize("adapt", [True, False])
async def test_feedback_that_is_stored_is_told_although_it_cannot_be_read(
    house: House, away: tuple[Away, Tasks], adapt: bool
) -> None:
    database, tasks = away
    parts = (database, house.engine, house.base_models, LIMITS)
    feedback = Feedback(*parts, intake=tasks.intake, adaptations=tasks.adaptations)
    task = await house.ready_task()
    database.is_away_after_writing = True
    given, is_over = await feedback.give(task.id, labelled(("dark", png(100))), adapt=adapt, wait_s=0.1)
    stored = (await house.tasks.examples(task.id, limit=10)).items
    assert (given.items, given.version, is_over) == (stored[-1:], 2 if adapt else None, not adapt)
