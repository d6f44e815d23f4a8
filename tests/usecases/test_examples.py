"""Adding, listing, reading and deleting examples; what a sweep leaves."""

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from service.errors import (
    ExampleNotFound,
    InvalidRequest,
    InvalidSupportSet,
    MalformedRequest,
    RequestTooLarge,
    UploadRejected,
)
from service.usecases.new_tasks import NewTask
from service.usecases.sweeping import Sweeper
from service.usecases.uploads import LabelledUpload, Upload
from service.usecases.views import ClassView
from tests.usecases.conftest import House, dark_and_bright, labelled, png


def files(house: House) -> set[Path]:
    return {path for path in (house.folder / "artifacts").rglob("*") if path.is_file()}


def make_old(house: House) -> None:
    long_ago = time.time() - 3600
    for path in files(house):
        os.utime(path, (long_ago, long_ago))


async def test_examples_are_given_back_as_they_were_sent(house: House) -> None:
    task = await house.ready_task()
    page = await house.tasks.examples(task.id, limit=10)
    assert [example.label for example in page.items] == ["dark", "bright", "dark", "bright"]
    example = page.items[1]
    assert (example.filename, example.media_type, example.width_px, example.height_px) == (
        "image.png",
        "image/png",
        10,
        10,
    )
    data, media_type = await house.tasks.example_bytes(task.id, example.id)
    assert (data, media_type) == (png(190), "image/png")
    assert example.size_bytes == len(data)


async def test_examples_are_listed_oldest_first_page_by_page(house: House) -> None:
    task = await house.ready_task()
    first = await house.tasks.examples(task.id, limit=3)
    second = await house.tasks.examples(task.id, limit=3, cursor=first.next_cursor)
    assert [len(first.items), len(second.items)] == [3, 1]
    assert second.next_cursor is None
    assert first.items + second.items == (await house.tasks.examples(task.id, limit=4)).items
    with pytest.raises(MalformedRequest):
        await house.tasks.examples(task.id, limit=3, cursor="!")


async def test_added_examples_are_answered_in_the_order_in_which_they_came(house: House) -> None:
    task = await house.ready_task()
    added = await house.tasks.add_examples(task.id, labelled(("new", png(1)), ("dark", png(2)), ("new", png(3))))
    assert [example.label for example in added] == ["new", "dark", "new"]
    seen = await house.tasks.get(task.id)
    assert seen.classes == (ClassView("dark", 3), ClassView("bright", 2), ClassView("new", 2))
    assert seen.updated_at > task.updated_at


async def test_one_bad_image_keeps_all_of_them_out(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(UploadRejected):
        await house.tasks.add_examples(task.id, labelled(("dark", png(1)), ("dark", b"no image")))
    assert (await house.tasks.get(task.id)).n_examples == 4


async def test_no_image_to_add_is_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidRequest):
        await house.tasks.add_examples(task.id, ())


async def test_more_examples_than_a_task_may_have_are_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(RequestTooLarge, match="would have 21 examples, at most 20"):
        await house.tasks.add_examples(task.id, labelled(*[("dark", png(1))] * 17))


async def test_more_classes_than_a_task_may_have_are_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidSupportSet, match="would have 6 classes, at most 5"):
        await house.tasks.add_examples(task.id, labelled(*((name, png(1)) for name in "abcd")))


async def test_additions_at_the_same_time_never_pass_the_limit(house: House) -> None:
    task = await house.ready_task()
    additions = (house.tasks.add_examples(task.id, labelled(*[("dark", png(1))] * 5)) for _ in range(8))
    results = await asyncio.gather(*additions, return_exceptions=True)
    assert sum(isinstance(result, RequestTooLarge) for result in results) == 5
    assert (await house.tasks.get(task.id)).n_examples == 19


async def test_the_last_example_of_a_class_takes_the_class_with_it(house: House) -> None:
    task = await house.ready_task(uploads=labelled(("dark", png(60)), ("bright", png(190)), ("bright", png(200))))
    example = (await house.tasks.examples(task.id, limit=1)).items[0]
    await house.tasks.delete_example(task.id, example.id)
    assert (await house.tasks.get(task.id)).classes == (ClassView("bright", 2),)
    with pytest.raises(ExampleNotFound):
        await house.tasks.example_bytes(task.id, example.id)
    with pytest.raises(ExampleNotFound):
        await house.tasks.delete_example(task.id, example.id)


async def test_an_example_is_found_in_its_own_task_only(house: House) -> None:
    task, other = await house.ready_task(), await house.ready_task()
    example = (await house.tasks.examples(task.id, limit=1)).items[0]
    with pytest.raises(ExampleNotFound):
        await house.tasks.example_bytes(other.id, example.id)
    with pytest.raises(ExampleNotFound):
        await house.tasks.delete_example(other.id, uuid4())


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("C:\\photos\\owl.png", "owl.png"),
        ("../../etc/owl.png", "owl.png"),
        ("o\x00w\nl\ud83d.png", "owl.png"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ("", None),
        (None, None),
    ],
)
async def test_of_a_filename_its_printable_last_part_is_kept(house: House, sent: str | None, kept: str | None) -> None:
    task = await house.ready_task()
    uploads = (LabelledUpload("dark", Upload(sent, len(png(1)), lambda: png(1)), "/files/0"),)
    assert (await house.tasks.add_examples(task.id, uploads))[0].filename == kept


async def test_a_sweep_leaves_what_a_task_needs(house: House) -> None:
    await house.ready_task()
    before = files(house)
    make_old(house)
    assert await Sweeper(house.database, house.artifacts, house.serving).sweep() == 0
    assert files(house) == before


async def test_a_sweep_removes_what_a_deleted_task_left(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.delete(task.id)
    make_old(house)
    await Sweeper(house.database, house.artifacts, house.serving).sweep()
    assert files(house) == set()


async def test_a_sweep_leaves_young_files(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.delete(task.id)
    assert await Sweeper(house.database, house.artifacts, house.serving).sweep() == 0


async def test_a_sweep_leaves_the_deleted_examples_of_a_version_that_is_not_finished(house: House) -> None:
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    example = (await house.tasks.examples(task.id, limit=1)).items[0]
    await house.tasks.delete_example(task.id, example.id)
    make_old(house)
    assert await Sweeper(house.database, house.artifacts, house.serving).sweep() == 0
    house.engine.open_gate.set()
    await house.tasks.stop()
    make_old(house)
    assert await Sweeper(house.database, house.artifacts, house.serving).sweep() == 1


async def test_a_sweep_in_the_middle_ends_when_it_is_told_to(house: House) -> None:
    sweeper = Sweeper(house.database, house.artifacts, house.serving, every_s=0.001)
    await sweeper.start()
    await asyncio.sleep(0.05)
    await sweeper.stop()


async def test_the_group_of_an_example_goes_with_it_into_the_adaptation(house: House) -> None:
    sent = [replace(each, group=group) for each, group in zip(dark_and_bright(), ("a", None, "a", "b"), strict=True)]
    task = await house.ready_task(uploads=tuple(sent))
    stored = (await house.tasks.examples(task.id, limit=10)).items
    assert [each.group for each in stored] == ["a", None, "a", "b"]
    # in the order of the classes: two dark ones of one group, then a bright one of none and one of another
    first, second, none, other = house.engine.requests[-1].groups
    assert (first == second, none, other not in {first, None}) == (True, None, True)
