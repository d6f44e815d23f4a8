"""Creating, listing and deleting tasks."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.errors import (
    EngineBusy,
    InvalidOption,
    InvalidRequest,
    InvalidSupportSet,
    MalformedRequest,
    RequestTooLarge,
    ServiceError,
    TaskNotFound,
    UnknownBaseModel,
    UnknownLearner,
    UploadRejected,
)
from service.usecases.new_tasks import NewTask
from service.usecases.tasks import Tasks
from service.usecases.uploads import LabelledUpload, Upload
from service.usecases.views import ClassView, VersionError
from tests.usecases.conftest import Away, House, dark_and_bright, labelled, png, upload


async def stored_tasks(house: House) -> int:
    return len((await house.tasks.list(limit=100)).items)


async def test_a_task_is_ready_when_it_was_adapted_in_time(house: House) -> None:
    task, is_finished = await house.tasks.create(NewTask(name=" Lamps ", uploads=dark_and_bright()), wait_s=5)
    assert is_finished
    assert (task.name, task.state, task.current_version, task.pending_version) == ("Lamps", "ready", 1, None)
    assert task.classes == (ClassView("dark", 2), ClassView("bright", 2))
    assert task.n_examples == 4
    assert await house.tasks.get(task.id) == task


async def test_the_first_version_tells_how_it_was_adapted(house: House) -> None:
    task = await house.ready_task()
    version = await house.tasks.version(task.id, 1)
    assert (version.state, version.learner, version.base_model) == ("ready", "ridge", "photo")
    assert version.base_model_digest == house.base_models.get("photo").digest
    assert version.settings == {"penalty": 1.0, "prior": "balanced"}
    reason = "4 of 4 images look like photographs, which it is made for"
    assert version.report == {"base_model": {"chosen": "photo", "reason": reason}, "n_sent": 4}
    assert version.timings_ms == {"adapt": 1.5}
    assert version.error is None


async def test_the_engine_gets_the_images_ordered_by_class(house: House) -> None:
    await house.ready_task()
    request = house.engine.requests[0]
    assert request.labels == (0, 0, 1, 1)
    assert [int(image.max()) for image in request.pixels] == [60, 70, 190, 200]
    assert request.options == {}
    assert request.prior is None


async def test_waiting_for_nothing_is_never_finished(house: House) -> None:
    task, is_finished = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    assert not is_finished
    assert task.pending_version == 1 or task.state == "ready"


async def test_a_slow_adaptation_is_shown_as_adapting(house: House) -> None:
    house.engine.open_gate.clear()
    task, is_finished = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0.8)
    assert not is_finished
    assert (task.state, task.current_version, task.pending_version) == ("adapting", None, 1)
    house.engine.open_gate.set()


async def test_a_task_is_adapted_although_its_client_left(house: House) -> None:
    house.engine.open_gate.clear()
    request = asyncio.create_task(house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=10))
    await house.engine.arrivals.acquire()
    request.cancel()
    house.engine.open_gate.set()
    await house.tasks.stop()
    assert [task.state for task in (await house.tasks.list(limit=10)).items] == ["ready"]


async def test_a_task_without_a_place_in_the_queue_is_not_stored(house: House) -> None:
    house.engine.places = 0
    with pytest.raises(EngineBusy):
        await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5)
    assert await stored_tasks(house) == 0


async def test_a_place_is_given_back_when_the_images_are_bad(house: House) -> None:
    with pytest.raises(UploadRejected):
        await house.tasks.create(NewTask(uploads=labelled(("a", b"no"), ("b", b"no"))), wait_s=5)
    assert house.engine.taken == 0


async def test_a_place_is_given_back_when_the_task_is_ready(house: House) -> None:
    await house.ready_task()
    assert house.engine.taken == 0


async def test_an_adaptation_that_cannot_succeed_fails_with_its_problem(house: House) -> None:
    house.engine.failures.append(InvalidOption("steps is too large"))
    task, is_finished = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5)
    assert is_finished
    assert (task.state, task.current_version, task.pending_version) == ("failed", None, None)
    assert (await house.tasks.version(task.id, 1)).error == VersionError(
        "invalid-option", "An option of the adaptation is unknown or out of range", "steps is too large"
    )


async def test_an_adaptation_with_an_unexpected_error_fails_without_telling_secrets(house: House) -> None:
    house.engine.failures.append(RuntimeError("/secret/path"))
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5)
    error = (await house.tasks.version(task.id, 1)).error
    assert error == VersionError(
        "service-error", "Something went wrong inside Handful", "the adaptation failed: RuntimeError"
    )


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"base_model": "nothing"}, UnknownBaseModel),
        ({"learner": "nothing"}, UnknownLearner),
        ({"base_model": "photo", "learner": "nothing"}, UnknownLearner),
        ({"prior": "fair"}, InvalidOption),
        ({"prior": {"dark": 1.0}}, InvalidOption),
        ({"prior": {"dark": 1.0, "bright": 0.0}}, InvalidOption),
        ({"prior": {"dark": 1.0, "bright": float("nan")}}, InvalidOption),
        ({"name": "x" * 201}, InvalidRequest),
        ({"name": "a\x00b"}, InvalidRequest),
        ({"name": "half \ud83d"}, InvalidRequest),
        ({"metadata": {"key": "v\x00"}}, InvalidRequest),
        ({"metadata": {"": "value"}}, InvalidRequest),
        ({"metadata": {"k" * 65: "value"}}, InvalidRequest),
        ({"metadata": {"key": "v" * 501}}, InvalidRequest),
        ({"metadata": {f"key {index}": "" for index in range(51)}}, InvalidRequest),
        ({"uploads": ()}, InvalidSupportSet),
        ({"uploads": labelled(("only", png(1)), ("only", png(2)))}, InvalidSupportSet),
        ({"uploads": labelled(*((str(index), png(index)) for index in range(6)))}, InvalidSupportSet),
        ({"uploads": dark_and_bright() * 6}, RequestTooLarge),
    ],
)
async def test_a_task_that_cannot_be_right_is_not_stored(
    house: House, settings: dict[str, Any], error: type[ServiceError]
) -> None:
    with pytest.raises(error):
        await house.tasks.create(NewTask(**{"uploads": dark_and_bright(), **settings}), wait_s=5)
    assert await stored_tasks(house) == 0


async def test_a_refusal_of_a_learner_lists_what_is_offered(house: House) -> None:
    with pytest.raises(UnknownLearner, match="'photo' does not offer the learner 'knn'; it offers: ridge, maml"):
        await house.tasks.create(NewTask(base_model="photo", learner="knn", uploads=dark_and_bright()), wait_s=5)


async def test_every_bad_image_is_named_and_nothing_is_stored(house: House) -> None:
    uploads = labelled(("dark", png(1)), ("dark", b""), ("bright", b"<html>"), ("bright", png(3)))
    with pytest.raises(UploadRejected, match="2 of 4 images") as caught:
        await house.tasks.create(NewTask(uploads=uploads), wait_s=5)
    assert caught.value.status == 422
    assert [(item.pointer, item.code) for item in caught.value.items] == [
        ("/files/1", "empty-file"),
        ("/files/2", "unsupported-image"),
    ]
    assert await stored_tasks(house) == 0


async def test_an_upload_of_nothing_but_unknown_formats_is_a_415(house: House) -> None:
    with pytest.raises(UploadRejected) as caught:
        await house.tasks.create(NewTask(uploads=labelled(("a", b"<html>"), ("b", b"%PDF-"))), wait_s=5)
    assert caught.value.status == 415


async def test_an_upload_of_nothing_but_too_large_files_is_a_413(house: House) -> None:
    large = Upload("large.png", 100_001, lambda: b"never read")
    wide = upload(png(1, side_px=501), "wide.png")
    uploads = (LabelledUpload("a", large, "/files/0"), LabelledUpload("b", wide, "/files/1"))
    with pytest.raises(UploadRejected) as caught:
        await house.tasks.create(NewTask(uploads=uploads), wait_s=5)
    assert caught.value.status == 413
    assert [item.code for item in caught.value.items] == ["image-too-large", "image-too-large"]


async def test_an_image_of_few_bytes_and_many_pixels_is_decoded_too(house: House) -> None:
    uploads = labelled(("dark", png(60, side_px=400)), ("bright", png(190, side_px=400)))
    assert (await house.ready_task(uploads=uploads)).n_examples == 2


async def test_labels_are_trimmed_and_composed(house: House) -> None:
    uploads = labelled((" Cafe\u0301 ", png(60)), ("Caf\u00e9", png(61)), ("bar", png(190)))
    task = await house.ready_task(uploads=uploads)
    assert task.classes == (ClassView("Caf\u00e9", 2), ClassView("bar", 1))


async def test_every_bad_label_is_named(house: House) -> None:
    uploads = labelled((" ", png(1)), ("a\x07", png(2)), ("x" * 201, png(3)), ("fine", png(4)))
    with pytest.raises(UploadRejected) as caught:
        await house.tasks.create(NewTask(uploads=uploads), wait_s=5)
    assert [(item.pointer, item.code) for item in caught.value.items] == [
        ("/files/0", "invalid-label"),
        ("/files/1", "invalid-label"),
        ("/files/2", "invalid-label"),
    ]


async def test_drawings_are_adapted_with_the_base_model_for_drawings(house: House) -> None:
    task = await house.ready_task(uploads=labelled(("black", png(0)), ("white", png(255))))
    assert (task.base_model, task.learner) == ("drawn", "ridge")
    assert house.engine.requests[0].pixels.shape == (2, 1, 8, 8)


async def test_colour_images_are_adapted_with_the_base_model_for_photographs(house: House) -> None:
    task = await house.ready_task(uploads=labelled(("red", png((200, 30, 30))), ("blue", png((10, 10, 90)))))
    assert task.base_model == "photo"
    assert house.engine.requests[0].pixels.shape == (2, 3, 8, 8)


async def test_a_named_base_model_and_learner_are_used(house: House) -> None:
    task = await house.ready_task(base_model="drawn", learner="maml")
    assert (task.base_model, task.learner) == ("drawn", "maml")
    assert house.engine.requests[0].learner == "maml"


async def test_the_report_says_which_base_model_was_chosen_and_why(house: House) -> None:
    uploads = labelled(("black", png(0)), ("white", png(255)), ("red", png((200, 30, 30))))
    task = await house.ready_task(uploads=uploads)
    chosen = (await house.tasks.version(task.id, 1)).report["base_model"]
    assert chosen == {"chosen": "drawn", "reason": "2 of 3 images look like drawings, which it is made for"}


async def test_the_report_of_a_named_base_model_says_that_it_was_not_chosen_by_its_images(house: House) -> None:
    task = await house.ready_task(base_model="photo")
    chosen = (await house.tasks.version(task.id, 1)).report["base_model"]
    assert chosen["chosen"] == "photo"
    assert chosen["reason"].startswith("it is the task's own")


async def test_the_prior_of_the_support_set_is_the_share_of_each_class(house: House) -> None:
    uploads = labelled(("dark", png(60)), ("bright", png(190)), ("dark", png(61)), ("dark", png(62)))
    await house.ready_task(uploads=uploads, prior="support")
    assert house.engine.requests[0].prior == (0.75, 0.25)


async def test_a_given_prior_is_made_to_sum_to_one_in_the_order_of_the_classes(house: House) -> None:
    task = await house.ready_task(prior={"bright": 1.0, "dark": 3.0})
    assert house.engine.requests[0].prior == (0.75, 0.25)
    assert (await house.tasks.version(task.id, 1)).settings["prior"] == {"bright": 1.0, "dark": 3.0}


async def test_an_empty_task_has_no_version(house: House) -> None:
    task = await house.tasks.create_empty(NewTask(name="later", base_model="drawn", metadata={"line": "7"}))
    assert (task.state, task.base_model, task.learner, task.n_examples) == ("empty", "drawn", None, 0)
    assert task.metadata == {"line": "7"}
    assert (await house.tasks.versions(task.id, limit=10)).items == ()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"base_model": "nothing"}, UnknownBaseModel),
        ({"base_model": "drawn", "learner": "knn"}, UnknownLearner),
        ({"learner": "knn"}, UnknownLearner),
    ],
)
async def test_an_empty_task_that_could_never_be_adapted_is_refused(
    house: House, settings: dict[str, Any], error: type[ServiceError]
) -> None:
    with pytest.raises(error):
        await house.tasks.create_empty(NewTask(**settings))


async def test_tasks_are_listed_newest_first_page_by_page(house: House) -> None:
    made = [await house.tasks.create_empty(NewTask(name=name)) for name in "abc"]
    first = await house.tasks.list(limit=2)
    second = await house.tasks.list(limit=2, cursor=first.next_cursor)
    assert first.items == (made[2], made[1])
    assert second.items == (made[0],)
    assert second.next_cursor is None


async def test_a_list_holds_only_tasks_with_the_state_and_all_of_the_metadata(house: House) -> None:
    await house.tasks.create_empty(NewTask(metadata={"line": "7", "site": "north"}))
    wanted = await house.ready_task(metadata={"line": "7", "site": "north"})
    await house.ready_task(metadata={"line": "7"})
    page = await house.tasks.list(limit=10, state="ready", metadata={"line": "7", "site": "north"})
    assert [task.id for task in page.items] == [wanted.id]


@pytest.mark.parametrize("cursor", ["", "nonsense", "AAAA", "\u00e9", "=" * 22])
async def test_a_cursor_of_somebody_else_is_malformed(house: House, cursor: str) -> None:
    with pytest.raises(MalformedRequest, match="cursor"):
        await house.tasks.list(limit=10, cursor=cursor)


async def test_a_deleted_task_is_not_found(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.delete(task.id)
    with pytest.raises(TaskNotFound):
        await house.tasks.get(task.id)
    with pytest.raises(TaskNotFound):
        await house.tasks.delete(task.id)
    with pytest.raises(TaskNotFound):
        await house.predictions.predict(task.id, [upload(png(60))], deadline_s=5)


@pytest.mark.parametrize("missing", [UUID(int=0), uuid4()])
async def test_what_belongs_to_no_task_is_not_found(house: House, missing: UUID) -> None:
    with pytest.raises(TaskNotFound):
        await house.tasks.examples(missing, limit=10)
    with pytest.raises(TaskNotFound):
        await house.tasks.versions(missing, limit=10)
    with pytest.raises(TaskNotFound):
        await house.tasks.version(missing, 1)
    with pytest.raises(TaskNotFound):
        await house.tasks.adapt(missing, wait_s=5)
    with pytest.raises(TaskNotFound):
        await house.tasks.add_examples(missing, dark_and_bright())
    with pytest.raises(TaskNotFound):
        await house.tasks.delete_example(missing, uuid4())
    assert house.engine.taken == 0


async def test_a_task_deleted_while_it_is_adapted_leaves_nothing_behind(house: House) -> None:
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    await house.tasks.delete(task.id)
    house.engine.open_gate.set()
    await house.tasks.stop()
    assert await stored_tasks(house) == 0
    assert house.engine.taken == 0


async def test_many_tasks_are_created_at_the_same_time(house: House) -> None:
    house.engine.places = 64
    tasks = await asyncio.gather(*(house.ready_task(name=f"task {index}") for index in range(64)))
    assert len({task.id for task in tasks}) == 64
    assert await stored_tasks(house) == 64


async def test_a_task_that_is_stored_is_told_although_it_cannot_be_read(house: House, away: tuple[Away, Tasks]) -> None:
    database, tasks = away
    database.is_away = True
    told, is_finished = await tasks.create(NewTask(name="kept", keep_s=60, uploads=dark_and_bright()), wait_s=5)
    found = await house.tasks.get(told.id)
    assert (told.name, told.classes, told.pending_version, is_finished) == ("kept", found.classes, 1, False)
    assert found.state == "ready"
    assert told.expires_at is not None
    assert found.expires_at is not None
    assert abs((told.expires_at - found.expires_at).total_seconds()) < 5


async def test_a_version_that_is_stored_is_told_although_it_cannot_be_read(
    house: House, away: tuple[Away, Tasks]
) -> None:
    database, tasks = away
    task = await house.ready_task()
    database.is_away = True
    house.engine.open_gate.clear()
    told, is_finished = await tasks.adapt(task.id, wait_s=0.1)
    assert (told.number, told.state, is_finished) == (2, "queued", False)
    database.is_away = False
    house.engine.open_gate.set()
