"""Which images of a pool to label next, for a task."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from service.errors import InvalidRequest, RequestTooLarge, TaskNotFound, UploadRejected
from service.usecases.decoding import Decoder
from service.usecases.new_tasks import NewTask
from service.usecases.suggestions import MANY_LABELS, PoolCount
from service.usecases.uploads import Upload
from tests.usecases.conftest import LIMITS, House, dark_and_bright, labelled, png, upload

THREE_GROUPS = [60, 62, 64, 66, 68, 190, 192, 194, 196, 198, 126, 127, 128, 129, 130]
"""Dark ones, bright ones, and some that are like neither."""

N_BYTES = 64 + 192 + 192
"""Of one image in the formats of both base models, and put together with others in the larger one."""


def pool(*levels: int) -> list[Upload]:
    return [upload(png(level), f"{level}.png") for level in levels]


async def suggested(house: House, task_id: UUID, levels: list[int], n_wanted: int = 3) -> list[tuple[str, str]]:
    view = await house.suggestions.suggest(task_id, pool(*levels), n_wanted=n_wanted, deadline_s=5)
    return [(each.filename or "", each.reason) for each in view.suggestions]


async def test_a_task_without_examples_gets_what_is_typical_of_most(house: House) -> None:
    task = await house.tasks.create_empty(NewTask())
    levels = [10, 12, 14, 16, 18, 20, 22, 200, 202, 204, 206, 208]
    assert await suggested(house, task.id, levels, 2) == [("16.png", "typical"), ("204.png", "typical")]


async def test_what_is_unlike_every_example_comes_first(house: House) -> None:
    task = await house.ready_task()
    first, *_ = await suggested(house, task.id, THREE_GROUPS)
    assert first == ("128.png", "typical")


async def test_a_task_with_many_examples_is_asked_what_it_is_unsure_of(house: House) -> None:
    many = labelled(*((label, png(level + n)) for n in range(MANY_LABELS) for label, level in (("a", 40), ("b", 200))))
    task = await house.ready_task(uploads=many)
    first, *_ = await suggested(house, task.id, [40, 60, 121, 180, 200])
    assert first == ("121.png", "uncertain")


async def test_nothing_of_a_pool_is_stored(house: House) -> None:
    task = await house.ready_task()
    before = sorted(house.artifacts._root.rglob("*"))
    await suggested(house, task.id, [10, 20, 30])
    assert sorted(house.artifacts._root.rglob("*")) == before
    assert (await house.tasks.get(task.id)).n_examples == 4


async def test_it_is_counted_how_many_of_a_pool_are_read_and_seen(house: House) -> None:
    task = await house.ready_task()
    count = PoolCount(3)
    await house.suggestions.suggest(task.id, pool(10, 20, 30), n_wanted=1, deadline_s=5, count=count)
    assert (count.read, count.seen, count.of) == (3, 3, 3)


async def test_every_bad_image_of_a_pool_is_named(house: House) -> None:
    task = await house.ready_task()
    images = [upload(png(10)), upload(b"no"), upload(b"none")]
    with pytest.raises(UploadRejected) as caught:
        await house.suggestions.suggest(task.id, images, n_wanted=1, deadline_s=5)
    assert [item.pointer for item in caught.value.items] == ["/files/1", "/files/2"]


async def test_a_pool_that_cannot_be_is_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidRequest):
        await house.suggestions.suggest(task.id, [], n_wanted=1, deadline_s=5)
    with pytest.raises(RequestTooLarge):
        await house.suggestions.suggest(task.id, [upload(png(1))] * 21, n_wanted=1, deadline_s=5)
    with pytest.raises(TaskNotFound):
        await house.suggestions.suggest(uuid4(), [upload(png(1))], n_wanted=1, deadline_s=5)


async def test_a_pool_that_takes_too_much_memory_is_refused(house: House) -> None:
    task = await house.tasks.create_empty(NewTask())
    house.decoder.close()
    house.decoder = Decoder(replace(LIMITS, decoded_bytes=3 * N_BYTES))
    assert len(await suggested(house, task.id, [10, 20, 30])) == 3
    with pytest.raises(RequestTooLarge, match="4 images take 1792 bytes decoded, the most is 1344"):
        await suggested(house, task.id, [10, 20, 30, 40])
    house.decoder.close()


async def test_a_task_that_keeps_features_knows_what_is_labelled(house: House) -> None:
    task = await house.ready_task(uploads=dark_and_bright(), store="features")
    first, *_ = await suggested(house, task.id, THREE_GROUPS)
    assert first == ("128.png", "typical")
