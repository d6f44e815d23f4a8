"""Adapting again, and what becomes of an adaptation when something dies."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.artifacts import FileArtifacts
from service.errors import (
    ArtifactMissing,
    BaseModelGone,
    EngineBusy,
    EngineNotReady,
    InvalidOption,
    InvalidSupportSet,
    MalformedRequest,
    UnknownLearner,
    VersionNotFound,
    WorkerDied,
)
from service.persistence.database import Database
from service.persistence.versions import VersionRows
from service.usecases.adaptations import Adaptations
from service.usecases.base_models import BaseModels
from service.usecases.new_tasks import NewTask
from service.usecases.supports import Supports
from service.usecases.tasks import Tasks
from service.usecases.views import ClassView, TaskView, VersionView
from tests.usecases.conftest import House, dark_and_bright, labelled, png, save_base_model, upload


async def finished_version(house: House, task: TaskView, number: int) -> VersionView:
    """The version once it is ready or failed."""
    async with asyncio.timeout(10):
        # the end shows in the database only
        while (version := await house.tasks.version(task.id, number)).state not in {"ready", "failed"}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return version


async def test_a_second_version_serves_once_it_is_ready(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    version, is_finished = await house.tasks.adapt(task.id, wait_s=5)
    assert is_finished
    assert (version.number, version.state) == (2, "ready")
    seen = await house.tasks.get(task.id)
    assert (seen.current_version, seen.pending_version, seen.state) == (2, None, "ready")
    assert seen.classes == (ClassView("dark", 2), ClassView("bright", 2), ClassView("middle", 1))
    answer = await house.predictions.predict(task.id, [upload(png(128))], deadline_s=5)
    assert (answer.version, answer.predictions[0].label) == (2, "middle")


@pytest.mark.parametrize(
    ("prior", "wanted"), [("support", (0.5, 0.5)), ({"dark": 3, "bright": 1}, (0.75, 0.25)), ("balanced", None)]
)
async def test_a_version_may_have_a_prior_of_its_own(
    house: House, prior: str | dict[str, float], wanted: tuple[float, ...] | None
) -> None:
    task = await house.ready_task()
    version, _ = await house.tasks.adapt(task.id, wait_s=5, prior=prior)
    assert (version.state, version.settings["prior"]) == ("ready", prior)
    assert house.engine.requests[-1].prior == wanted
    again, _ = await house.tasks.adapt(task.id, wait_s=5)
    assert again.settings["prior"] == "balanced"


async def test_a_prior_of_a_class_that_there_is_not_makes_no_version(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidOption, match="adapt with a prior of these"):
        await house.tasks.adapt(task.id, wait_s=5, prior={"dark": 1, "grey": 1})
    assert len((await house.tasks.versions(task.id, limit=5)).items) == 1


async def test_the_old_version_serves_while_the_new_one_is_adapted(house: House) -> None:
    task = await house.ready_task()
    house.engine.open_gate.clear()
    version, is_finished = await house.tasks.adapt(task.id, wait_s=0)
    assert (version.number, version.state, is_finished) == (2, "queued", False)
    seen = await house.tasks.get(task.id)
    assert (seen.state, seen.current_version, seen.pending_version) == ("ready", 1, 2)
    house.engine.open_gate.set()
    assert (await finished_version(house, task, 2)).state == "ready"


async def test_a_version_that_fails_leaves_the_old_one_serving(house: House) -> None:
    task = await house.ready_task()
    house.engine.failures.append(InvalidOption("no"))
    version, is_finished = await house.tasks.adapt(task.id, wait_s=5)
    assert (version.state, is_finished) == ("failed", True)
    seen = await house.tasks.get(task.id)
    assert (seen.state, seen.current_version, seen.pending_version) == ("ready", 1, None)


async def test_stored_features_are_used_instead_of_images(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.add_examples(task.id, labelled(("bright", png(210))))
    await house.tasks.adapt(task.id, wait_s=5)
    second = house.engine.requests[1]
    assert [row is None for row in second.features] == [False, False, False, False, True]
    assert len(second.pixels) == 1
    await house.tasks.adapt(task.id, wait_s=5)
    third = house.engine.requests[2]
    assert None not in third.features
    assert third.pixels.shape == (0, 3, 8, 8)


async def test_features_belong_to_the_examples_that_they_were_made_of(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.adapt(task.id, wait_s=5)
    first, second = [
        await house.predictions.predict(task.id, [upload(png(66))], version=number, deadline_s=5) for number in (1, 2)
    ]
    assert first.predictions == second.predictions


async def test_a_learner_of_the_whole_network_is_sent_every_image(house: House) -> None:
    task = await house.ready_task()
    version, _ = await house.tasks.adapt(task.id, wait_s=5, learner="maml", steps=3, lr=0.5)
    request = house.engine.requests[1]
    assert request.features == (None,) * 4
    assert len(request.pixels) == 4
    assert request.options == {"steps": 3, "lr": 0.5}
    assert version.settings == {"steps": 3, "lr": 0.5, "prior": "balanced"}


async def test_features_that_are_lost_are_made_again_from_the_images(house: House) -> None:
    task = await house.ready_task()
    house.engine.failures.append(ArtifactMissing("features are gone"))
    version, _ = await house.tasks.adapt(task.id, wait_s=5)
    assert version.state == "ready"
    assert [len(request.pixels) for request in house.engine.requests] == [4, 0, 4]


async def test_an_original_that_is_lost_fails_the_version_with_the_reason(house: House) -> None:
    task = await house.tasks.create_empty(NewTask(base_model="photo"))
    await house.tasks.add_examples(task.id, dark_and_bright())
    house.artifacts = FileArtifacts(house.folder / "elsewhere")
    await house.tasks.stop()
    await house.restart()
    version, _ = await house.tasks.adapt(task.id, wait_s=5)
    assert version.error is not None
    assert version.error.type == "artifact-missing"


async def test_a_task_without_a_base_model_gets_one_when_it_is_adapted(house: House) -> None:
    task = await house.tasks.create_empty(NewTask())
    await house.tasks.add_examples(task.id, labelled(("black", png(0)), ("white", png(255))))
    assert (await house.tasks.get(task.id)).base_model is None
    await house.tasks.adapt(task.id, wait_s=5)
    seen = await house.tasks.get(task.id)
    assert (seen.base_model, seen.learner, seen.state) == ("drawn", "ridge", "ready")


async def test_a_task_with_fewer_than_two_classes_is_not_adapted(house: House) -> None:
    task = await house.tasks.create_empty(NewTask())
    with pytest.raises(InvalidSupportSet, match="0 classes, need at least 2"):
        await house.tasks.adapt(task.id, wait_s=5)
    await house.tasks.add_examples(task.id, labelled(("only", png(0))))
    with pytest.raises(InvalidSupportSet, match="1 class, need at least 2; the only one is 'only'"):
        await house.tasks.adapt(task.id, wait_s=5)
    assert house.engine.taken == 0


async def test_an_adaptation_without_a_place_is_not_stored(house: House) -> None:
    task = await house.ready_task()
    house.engine.places = 0
    with pytest.raises(EngineBusy):
        await house.tasks.adapt(task.id, wait_s=5)
    assert len((await house.tasks.versions(task.id, limit=10)).items) == 1


async def test_an_option_that_the_learner_does_not_have_is_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidOption, match="'ridge' has no option 'steps'"):
        await house.tasks.adapt(task.id, wait_s=5, steps=5)


@pytest.mark.parametrize("options", [{"steps": -1}, {"steps": 101}, {"lr": 0.0}, {"lr": 10.5}, {"lr": float("nan")}])
async def test_an_option_out_of_range_is_refused(house: House, options: dict[str, float]) -> None:
    task = await house.ready_task()
    with pytest.raises(InvalidOption, match="expected"):
        await house.tasks.adapt(task.id, wait_s=5, learner="maml", **options)  # type: ignore[arg-type]  # wrong on purpose


async def test_a_learner_that_is_not_offered_is_refused(house: House) -> None:
    task = await house.ready_task()
    with pytest.raises(UnknownLearner):
        await house.tasks.adapt(task.id, wait_s=5, learner="knn")


async def test_a_prior_that_leaves_out_a_class_that_came_later_is_refused(house: House) -> None:
    task = await house.ready_task(prior={"dark": 1.0, "bright": 1.0})
    await house.tasks.add_examples(task.id, labelled(("middle", png(128))))
    with pytest.raises(InvalidOption, match="the classes are"):
        await house.tasks.adapt(task.id, wait_s=5)


async def test_a_task_whose_base_model_is_gone_is_not_adapted(house: House) -> None:
    task = await house.ready_task()
    (house.folder / "models" / "photo.safetensors").unlink()
    house.base_models = BaseModels([house.folder / "models"])
    await house.restart()
    with pytest.raises(BaseModelGone, match="photo"):
        await house.tasks.adapt(task.id, wait_s=5)


async def test_features_of_another_base_model_are_not_used(house: House) -> None:
    task = await house.ready_task()
    save_base_model(
        house.folder / "models" / "photo.safetensors", id_="photo", suits="photographs", channels=3, note="better"
    )
    house.base_models = BaseModels([house.folder / "models"])
    await house.restart()
    version, _ = await house.tasks.adapt(task.id, wait_s=5)
    assert version.base_model_digest == house.base_models.get("photo").digest
    assert len(house.engine.requests[1].pixels) == 4


async def test_versions_are_listed_newest_first_page_by_page(house: House) -> None:
    task = await house.ready_task()
    await house.tasks.adapt(task.id, wait_s=5)
    await house.tasks.adapt(task.id, wait_s=5)
    first = await house.tasks.versions(task.id, limit=2)
    second = await house.tasks.versions(task.id, limit=2, cursor=first.next_cursor)
    assert [version.number for version in first.items + second.items] == [3, 2, 1]
    assert second.next_cursor is None
    with pytest.raises(MalformedRequest):
        await house.tasks.versions(task.id, limit=2, cursor="AA")


@pytest.mark.parametrize("number", [0, 2, 2**31, 2**70])
async def test_a_version_that_does_not_exist_is_not_found(house: House, number: int) -> None:
    task = await house.ready_task()
    with pytest.raises(VersionNotFound):
        await house.tasks.version(task.id, number)


async def test_adaptations_at_the_same_time_get_numbers_of_their_own(house: House) -> None:
    house.engine.places = 16
    task = await house.ready_task()
    results = await asyncio.gather(*(house.tasks.adapt(task.id, wait_s=10) for _ in range(16)))
    assert sorted(version.number for version, _ in results) == list(range(2, 18))
    assert (await house.tasks.get(task.id)).current_version == 17


async def test_a_version_keeps_its_support_set_when_an_example_is_deleted_meanwhile(house: House) -> None:
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0)
    first = (await house.tasks.examples(task.id, limit=1)).items[0]
    await house.tasks.delete_example(task.id, first.id)
    await house.tasks.stop(grace_s=0)
    house.engine.open_gate.set()
    await house.restart()
    assert (await finished_version(house, task, 1)).report["n_sent"] == 4
    assert (await house.tasks.get(task.id)).n_examples == 3


async def test_what_a_stopped_process_left_is_finished_by_the_next_one(house: House) -> None:
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright(), prior="support"), wait_s=0)
    await house.tasks.stop(grace_s=0)
    assert (await house.tasks.get(task.id)).state == "queued"
    house.engine.open_gate.set()
    await house.restart()
    assert (await finished_version(house, task, 1)).state == "ready"
    asked, again = house.engine.requests
    assert (asked.labels, asked.prior, asked.options) == (again.labels, again.prior, again.options)
    assert (asked.pixels == again.pixels).all()


async def test_what_a_killed_process_left_is_finished_by_the_next_one_at_once(house: House) -> None:
    house.engine.open_gate.clear()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0.7)
    killed = house.tasks
    await house.restart()
    await asyncio.sleep(0.1)
    house.engine.open_gate.set()
    assert (await finished_version(house, task, 1)).state == "ready"
    await killed.stop()
    assert len(house.engine.requests) == 2


async def test_a_version_whose_worker_died_goes_back_into_the_queue(house: House) -> None:
    house.engine.failures.append(WorkerDied("the worker stopped"))
    task, is_finished = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5)
    assert (task.state, is_finished) == ("queued", False)
    await house.restart()
    assert (await finished_version(house, task, 1)).state == "ready"


async def test_an_engine_that_is_not_ready_costs_no_attempt(house: House) -> None:
    task = await house.ready_task()
    house.engine.failures += [EngineNotReady("the worker is starting")] * 5
    running = fast_adaptations(house)
    await running.start()
    await house.tasks.adapt(task.id, wait_s=5)
    assert (await finished_version(house, task, 2)).state == "ready"
    await running.stop(1)


async def test_a_version_that_kills_the_worker_three_times_fails(house: House) -> None:
    house.engine.failures += [WorkerDied("the worker stopped")] * 3
    running = fast_adaptations(house)
    await running.start()
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5)
    version = await finished_version(house, task, 1)
    assert version.error is not None
    assert version.error.type == "worker-died"
    assert len(house.engine.requests) == 3
    await running.stop(1)


async def test_a_running_adaptation_keeps_its_lease(house: House) -> None:
    task, _ = await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=5)
    house.engine.open_gate.clear()
    await house.tasks.adapt(task.id, wait_s=0)
    running = fast_adaptations(house, lease_s=1.5)
    await running.start()
    await asyncio.sleep(2)
    assert await VersionRows(house.database).free() is None
    house.engine.open_gate.set()
    await running.stop(1)
    assert (await house.tasks.version(task.id, 2)).state == "ready"


async def test_a_process_that_stood_still_does_not_take_over_its_own(house: House) -> None:
    task = await house.ready_task()
    parts = (house.database, house.engine, house.artifacts, house.base_models, house.decoder, house.serving)
    tasks = Tasks(*parts, lease_s=0.3)
    await tasks.start()
    house.engine.open_gate.clear()
    await tasks.adapt(task.id, wait_s=0)
    time.sleep(0.4)  # noqa: ASYNC251  # everything stands still, until the lease is over
    await asyncio.sleep(0.3)
    house.engine.open_gate.set()
    await tasks.stop()
    assert (await house.tasks.version(task.id, 2)).state == "ready"
    assert len(house.engine.requests) == 2


async def test_a_database_that_is_away_costs_a_line_a_round(house: House, caplog: pytest.LogCaptureFixture) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/nothing")
    running = fast_adaptations(house, away)
    await running.start()
    await asyncio.sleep(0.3)
    await running.stop(1)
    await away.close()
    lines = [record for record in caplog.records if "a round of" in record.getMessage()]
    assert "the database does not answer" in lines[0].getMessage()
    assert {record.exc_info for record in lines} == {None}


async def test_adaptations_that_wait_hold_no_more_pixels_than_there_is_room_for(house: House) -> None:
    supports = Supports(house.database, house.artifacts, house.base_models, house.decoder)
    n_bytes = 4 * 3 * 8 * 8  # of four photographs
    parts = (house.database, house.engine, supports, house.serving)
    house.tasks.adaptations = Adaptations(*parts, pixels_bytes=2 * n_bytes)
    house.engine.open_gate.clear()
    made = [await house.tasks.create(NewTask(uploads=dark_and_bright()), wait_s=0) for _ in range(4)]
    for _ in range(2):
        await house.engine.arrivals.acquire()
    await asyncio.sleep(0.2)
    assert [request.pixels.nbytes for request in house.engine.requests] == [n_bytes] * 2
    house.engine.open_gate.set()
    for task, _ in made:
        assert (await finished_version(house, task, 1)).state == "ready"
    assert [request.pixels.nbytes for request in house.engine.requests] == [n_bytes] * 4
    assert house.engine.taken == 0


class Slow(Database):
    """A database on a machine so busy that each read takes longer than a second."""

    n_read = n_begun = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        self.n_begun += 1
        async with super().read() as session:
            await asyncio.sleep(1.2)
            yield session
        self.n_read += 1


async def test_a_round_under_way_ends_by_itself_before_the_service_stops(house: House) -> None:
    slow = Slow(f"sqlite:///{house.folder / 'handful.db'}")
    running = fast_adaptations(house, slow)
    await running.start()
    while not slow.n_begun:  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.02)
    await running.stop(1)
    await slow.close()
    assert slow.n_read == slow.n_begun == 1


async def test_an_adaptation_that_was_taken_over_does_not_keep_the_service_from_stopping(house: House) -> None:
    task = await house.ready_task()
    house.engine.failures.append(WorkerDied("the worker stopped"))
    await house.tasks.adapt(task.id, wait_s=5)  # goes back into the queue
    house.engine.open_gate.clear()
    running = fast_adaptations(house)
    await running.start()
    async with asyncio.timeout(10):
        for _ in range(3):
            await house.engine.arrivals.acquire()
        await running.stop(0.1)
    assert (await house.tasks.version(task.id, 2)).state == "queued"
    assert house.engine.taken == 0


def fast_adaptations(house: House, database: Database | None = None, *, lease_s: float = 0.15) -> Adaptations:
    """The loop of another process, every third of a lease instead of every 5 s."""
    database = database or house.database
    supports = Supports(database, house.artifacts, house.base_models, house.decoder)
    return Adaptations(database, house.engine, supports, house.serving, lease_s=lease_s)
