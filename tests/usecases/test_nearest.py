"""The nearest examples of an image."""

import pytest

from service.errors import InvalidOption
from tests.usecases.conftest import House, dark_and_bright, labelled, png, upload


async def nearest(
    house: House, task_id: object, image: bytes, n_nearest: int = 2, **more: int
) -> list[tuple[str, float]]:
    answer = await house.predictions.predict(task_id, [upload(image)], deadline_s=5, nearest=n_nearest, **more)  # type: ignore[arg-type]  # an id
    found = answer.predictions[0].nearest
    assert found is not None
    return [(each.label, each.similarity) for each in found]


async def test_the_most_similar_examples_come_first(house: House) -> None:
    task = await house.ready_task()
    found = await nearest(house, task.id, png(199), 3)
    assert [label for label, _ in found] == ["bright", "bright", "dark"]
    assert [similarity for _, similarity in found] == pytest.approx([1 - d / 255 for d in (1, 9, 129)], abs=1e-6)


async def test_nearest_examples_are_named_by_their_ids(house: House) -> None:
    task = await house.ready_task()
    examples = (await house.tasks.examples(task.id, limit=9)).items
    answer = await house.predictions.predict(task.id, [upload(png(61))], deadline_s=5, nearest=1)
    (found,) = answer.predictions[0].nearest or ()
    assert found.example_id == examples[0].id
    assert "nearest" in answer.timings_ms


async def test_nobody_who_does_not_ask_pays_for_it(house: House) -> None:
    task = await house.ready_task()
    answer = await house.predictions.predict(task.id, [upload(png(61))], deadline_s=5)
    assert answer.predictions[0].nearest is None
    assert "nearest" not in answer.timings_ms


async def test_an_example_that_was_removed_is_left_out(house: House) -> None:
    task = await house.ready_task()
    examples = (await house.tasks.examples(task.id, limit=9)).items
    await house.tasks.delete_example(task.id, examples[3].id)
    assert [label for label, _ in await nearest(house, task.id, png(199), 9)] == ["bright", "dark", "dark"]


async def test_an_older_version_has_its_own_examples(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    await house.tasks.adapt(task.id, wait_s=5)
    assert len(await nearest(house, task.id, png(128), 9)) == 5
    assert {label for label, _ in await nearest(house, task.id, png(128), 9, version=1)} == {"dark", "bright"}


async def test_examples_without_features_are_a_problem(house: House) -> None:
    task = await house.ready_task(learner="maml", uploads=dark_and_bright())
    with pytest.raises(InvalidOption, match="adapts the whole network"):
        await nearest(house, task.id, png(60))


async def test_features_of_another_learner_on_the_same_base_model_serve(house: House) -> None:
    task = await house.ready_task(uploads=dark_and_bright())
    await house.tasks.adapt(task.id, wait_s=5, learner="maml")
    assert [label for label, _ in await nearest(house, task.id, png(60))] == ["dark", "dark"]
