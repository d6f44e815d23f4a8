"""The classes of a task: renamed, left out, removed; examples that move from one to another."""

from dataclasses import replace

import pytest

from service.errors import ClassNotFound, ExampleNotFound, InvalidRequest, InvalidSupportSet
from service.persistence.ids import new_id
from service.usecases.new_tasks import NewTask
from service.usecases.views import ClassView, TaskView
from tests.usecases.conftest import LIMITS, House, dark_and_bright, labelled, png, upload

THREE = labelled(("dark", png(60)), ("middle", png(128)), ("bright", png(190)))


async def answered_by(house: House, task: TaskView) -> int:
    return (await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)).version


async def labels_of_answer(house: House, task: TaskView) -> set[str]:
    answer = await house.predictions.predict(task.id, [upload(png(128))], deadline_s=5)
    return {score.label for score in answer.predictions[0].scores}


async def test_a_class_that_is_left_out_keeps_its_examples_and_counts_again_once_taken_in(house: House) -> None:
    task = await house.ready_task(uploads=THREE)
    left_out = await house.classes.change(task.id, " middle ", is_left_out=True)
    without, _ = await house.tasks.adapt(task.id, wait_s=5)
    known = await labels_of_answer(house, task)
    await house.classes.change(task.id, "middle", is_left_out=False)
    again, _ = await house.tasks.adapt(task.id, wait_s=5)

    assert left_out.classes[1] == ClassView("middle", 1, is_left_out=True)
    assert left_out.n_examples == 3
    assert (known, without.report["left_out"]) == ({"dark", "bright"}, ["middle"])
    assert await labels_of_answer(house, task) == {"dark", "middle", "bright"}
    assert "left_out" not in again.report


async def test_feedback_is_adapted_to_without_a_class_that_is_left_out(house: House) -> None:
    task = await house.ready_task(uploads=THREE)
    await house.classes.change(task.id, "middle", is_left_out=True)
    await house.feedback.give(task.id, labelled(("middle", png(120))), adapt=True, wait_s=5)
    assert await answered_by(house, task) == 2
    assert await labels_of_answer(house, task) == {"dark", "bright"}
    assert (await house.tasks.get(task.id)).classes[1] == ClassView("middle", 2, is_left_out=True)


async def test_adapting_to_one_class_is_refused_and_says_what_is_left_out(house: House) -> None:
    task = await house.ready_task()
    await house.classes.change(task.id, "dark", is_left_out=True)
    with pytest.raises(InvalidSupportSet, match="the only one is 'bright'; left out: 'dark'"):
        await house.tasks.adapt(task.id, wait_s=5)


async def test_weights_of_the_classes_follow_a_name_and_a_class_that_is_left_out(house: House) -> None:
    prior = {"dark": 1.0, "middle": 2.0, "bright": 1.0}
    task, _ = await house.tasks.create(NewTask(uploads=THREE, prior=prior), wait_s=5)
    await house.classes.change(task.id, "dark", named="black")
    await house.classes.change(task.id, "middle", is_left_out=True)
    version, _ = await house.tasks.adapt(task.id, wait_s=5)
    assert version.settings["prior"] == {"black": 1.0, "bright": 1.0}


async def test_a_renamed_class_keeps_its_place_and_answers_by_its_name_once_adapted(house: House) -> None:
    task = await house.ready_task(uploads=THREE)
    renamed = await house.classes.change(task.id, "dark", named=" black ")
    before = await labels_of_answer(house, task)
    await house.tasks.adapt(task.id, wait_s=5)
    assert [each.label for each in renamed.classes] == ["black", "middle", "bright"]
    assert before == {"dark", "middle", "bright"}
    assert await labels_of_answer(house, task) == {"black", "middle", "bright"}
    assert len(house.engine.requests[-1].pixels) == 0


@pytest.mark.parametrize("named", ["bright", "", "x" * 201])
async def test_a_class_is_not_renamed_to_what_cannot_be(house: House, named: str) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidRequest):
        await house.classes.change(task.id, "dark", named=named, is_left_out=True)
    assert (await house.tasks.get(task.id)).classes == task.classes


async def test_an_example_moves_with_its_group_its_age_and_its_features(house: House) -> None:
    uploads = [replace(each, group="burst") for each in dark_and_bright()]
    task = await house.ready_task(uploads=tuple(uploads))
    example, *_ = (await house.tasks.examples(task.id, limit=10)).items
    moved = await house.classes.change_example(task.id, example.id, {"label": "bright"})
    await house.tasks.adapt(task.id, wait_s=5)
    assert (example.label, moved) == ("dark", replace(example, label="bright"))
    assert moved.group == "burst"
    assert len(house.engine.requests[-1].pixels) == 0


async def test_the_group_of_an_example_is_set_and_taken_away(house: House) -> None:
    task = await house.ready_task()
    example, *_ = (await house.tasks.examples(task.id, limit=10)).items
    grouped = await house.classes.change_example(task.id, example.id, {"group": " burst "})
    alone = await house.classes.change_example(task.id, example.id, {"group": None})
    assert (grouped.group, alone.group, alone.label) == ("burst", None, example.label)


async def test_a_class_comes_with_its_first_example_and_goes_with_its_last(house: House) -> None:
    task = await house.ready_task(uploads=THREE)
    example = next(each for each in (await house.tasks.examples(task.id, limit=10)).items if each.label == "middle")
    await house.classes.change_example(task.id, example.id, {"label": "grey"})
    assert [each.label for each in (await house.tasks.get(task.id)).classes] == ["dark", "bright", "grey"]


async def test_an_example_is_not_moved_to_more_classes_than_a_task_may_have(house: House) -> None:
    full = labelled(*((f"class {n}", png(n)) for n in range(LIMITS.max_classes)), ("class 0", png(99)))
    task = await house.ready_task(uploads=full)
    example, *_ = (await house.tasks.examples(task.id, limit=10)).items
    with pytest.raises(InvalidSupportSet, match="at most"):
        await house.classes.change_example(task.id, example.id, {"label": "one more"})
    with pytest.raises(ExampleNotFound):
        await house.classes.change_example(task.id, new_id(), {"label": "class 0"})
    assert (await house.tasks.get(task.id)).classes == task.classes


async def test_a_class_goes_with_its_examples_and_the_versions_that_know_it_stay(house: House) -> None:
    more = labelled(("dark", png(60)), ("middle", png(128)), ("bright", png(190)))
    task = await house.ready_task(uploads=more)
    await house.classes.remove(task.id, " middle ")
    left = await house.tasks.get(task.id)
    assert left.classes == (ClassView("dark", 1), ClassView("bright", 1))
    answer = await house.predictions.predict(task.id, [upload(png(128))], deadline_s=5)
    assert answer.predictions[0].label == "middle"
    await house.tasks.adapt(task.id, wait_s=5)
    answer = await house.predictions.predict(task.id, [upload(png(128))], deadline_s=5)
    assert {score.label for score in answer.predictions[0].scores} == {"dark", "bright"}


async def test_the_last_class_but_one_can_go_and_only_adapting_is_refused(house: House) -> None:
    task = await house.ready_task()
    await house.classes.remove(task.id, "dark")
    with pytest.raises(InvalidSupportSet, match="have 1 class,"):
        await house.tasks.adapt(task.id, wait_s=5)
    assert await answered_by(house, task) == 1


@pytest.mark.parametrize("label", ["grey", "x" * 201, "a\x00b", ""])
async def test_a_class_that_the_task_does_not_have_cannot_be_removed_or_changed(house: House, label: str) -> None:
    task = await house.ready_task()
    with pytest.raises(ClassNotFound):
        await house.classes.remove(task.id, label)
    with pytest.raises(ClassNotFound):
        await house.classes.change(task.id, label, is_left_out=True)


async def test_adapting_after_a_removal_decodes_nothing(house: House) -> None:
    more = labelled(("dark", png(60)), ("middle", png(128)), ("bright", png(190)))
    task = await house.ready_task(uploads=more)
    await house.classes.remove(task.id, "middle")
    await house.tasks.adapt(task.id, wait_s=5)
    request = house.engine.requests[-1]
    assert len(request.pixels) == 0
    assert [row is not None for row in request.features] == [True, True]
