"""Statements on both databases: tasks, examples, versions and their leases."""

import asyncio
import dataclasses
import time
from uuid import UUID

import pytest

from service.errors import RequestTooLarge, TaskNotFound
from service.persistence.database import Database
from service.persistence.examples import ExampleRows
from service.persistence.ids import new_id
from service.persistence.orm import Version
from service.persistence.records import (
    Claim,
    ExampleRecord,
    FinishedAdaptation,
    Lease,
    StoredFeatures,
    TaskRecord,
    TaskRoom,
    TaskSnapshot,
    VersionRecord,
)
from service.persistence.tasks import TaskRows
from service.persistence.versions import VersionRows

ROOM = TaskRoom(1000, 100)
MINE = Lease("me", 30)
SHORT = Lease("me", 0.2)
THEIRS = Lease("they", 30)


def example(label: str, seed: int = 0) -> ExampleRecord:
    return ExampleRecord(new_id(), label, f"{seed:064x}", "a.png", "image/png", 10, 4, 4, looks_drawn=False)


def record(**settings: str) -> TaskRecord:
    return TaskRecord(new_id(), None, "photo", "ridge", "balanced", settings)


def plan(_task: TaskSnapshot | None) -> VersionRecord:
    return VersionRecord(new_id(), "ridge", "photo", "b" * 64, {"prior": "balanced"})


def claim_of(version: Version, lease: Lease = MINE) -> Claim:
    return Claim(version.task_id, version.id, lease.owner)


def finished(artifact: str, features: StoredFeatures | None = None) -> FinishedAdaptation:
    return FinishedAdaptation(artifact, 10, {"a": 1}, {"adapt": 1.0}, features)


async def new_version(database: Database, lease: Lease = MINE) -> Version:
    """A task of two examples with its first version."""
    task = record()
    examples = [example("a", 1), example("b", 2)]
    return await TaskRows(database).create(task, examples, plan(None), lease=lease, room=ROOM)


async def state_of(database: Database, task_id: UUID) -> tuple[str, int | None, int | None]:
    row = (await TaskRows(database).get(task_id)).row
    return row.state, row.current_version, row.pending_version


async def test_nobody_else_takes_a_version_while_its_lease_holds(database: Database) -> None:
    version = await new_version(database)
    assert await VersionRows(database).free() is None
    assert await VersionRows(database).take(version, THEIRS) is None


async def test_a_version_whose_lease_ran_out_is_taken_by_one(database: Database) -> None:
    version = await new_version(database, SHORT)
    await asyncio.sleep(0.3)
    rows = VersionRows(database)
    takers = (rows.take(version, Lease(f"taker {index}", 30)) for index in range(8))
    taken = [each for each in await asyncio.gather(*takers) if each is not None]
    assert len(taken) == 1
    assert (taken[0].attempts, taken[0].state) == (2, "adapting")


async def test_a_lease_that_is_renewed_does_not_run_out(database: Database) -> None:
    version = await new_version(database, SHORT)
    await VersionRows(database).renew(MINE, [version.id])
    await asyncio.sleep(0.3)
    assert await VersionRows(database).free() is None


async def test_a_lease_is_renewed_by_its_owner_only(database: Database) -> None:
    version = await new_version(database, SHORT)
    await VersionRows(database).renew(THEIRS, [version.id])
    await asyncio.sleep(0.3)
    free = await VersionRows(database).free()
    assert free is not None
    assert free.id == version.id


async def test_the_result_of_a_lost_lease_is_dropped(database: Database) -> None:
    version = await new_version(database, SHORT)
    await asyncio.sleep(0.3)
    rows = VersionRows(database)
    assert await rows.take(version, THEIRS) is not None
    assert not await rows.finish(claim_of(version), finished("1" * 64))
    assert await state_of(database, version.task_id) == ("adapting", None, 1)
    assert await rows.finish(claim_of(version, THEIRS), finished("2" * 64))
    assert (await rows.get(version.task_id, 1)).artifact == "2" * 64


async def test_a_result_is_applied_once(database: Database) -> None:
    version = await new_version(database)
    rows = VersionRows(database)
    assert await rows.finish(claim_of(version), finished("1" * 64))
    assert not await rows.finish(claim_of(version), finished("2" * 64))
    assert (await rows.get(version.task_id, 1)).artifact == "1" * 64


async def test_a_finished_version_is_never_free(database: Database) -> None:
    version = await new_version(database, SHORT)
    await VersionRows(database).finish(claim_of(version), finished("1" * 64))
    await asyncio.sleep(0.3)
    assert await VersionRows(database).free() is None


async def test_a_released_version_is_free_at_once(database: Database) -> None:
    version = await new_version(database)
    rows = VersionRows(database)
    await rows.mark_adapting(claim_of(version))
    assert await state_of(database, version.task_id) == ("adapting", None, 1)
    await rows.release(claim_of(version), counts=False)
    assert await state_of(database, version.task_id) == ("queued", None, 1)
    free = await rows.free()
    assert free is not None
    assert free.attempts == 0


async def test_leases_can_be_voided_all_at_once(database: Database) -> None:
    await new_version(database)
    await VersionRows(database).void_leases()
    assert await VersionRows(database).free() is not None


async def test_the_oldest_version_comes_first(database: Database) -> None:
    versions = [await new_version(database) for _ in range(3)]
    await VersionRows(database).void_leases()
    free = await VersionRows(database).free()
    assert free is not None
    assert free.id == versions[0].id


async def test_the_highest_ready_number_serves(database: Database) -> None:
    first = await new_version(database)
    rows = VersionRows(database)
    second = await rows.create(first.task_id, plan, MINE)
    third = await rows.create(first.task_id, plan, MINE)
    await rows.finish(claim_of(second), finished("2" * 64))
    assert await state_of(database, first.task_id) == ("ready", 2, 3)
    await rows.finish(claim_of(first), finished("1" * 64))
    assert await state_of(database, first.task_id) == ("ready", 2, 3)
    await rows.fail(claim_of(third), {"type": "t", "title": "T", "detail": "d"})
    assert await state_of(database, first.task_id) == ("ready", 2, None)


async def test_without_a_ready_version_the_newest_gives_the_state(database: Database) -> None:
    first = await new_version(database)
    rows = VersionRows(database)
    second = await rows.create(first.task_id, plan, MINE)
    await rows.fail(claim_of(second), {"type": "t", "title": "T", "detail": "d"})
    assert await state_of(database, first.task_id) == ("failed", None, 1)


async def test_a_refused_plan_stores_nothing(database: Database) -> None:
    task = record()
    await TaskRows(database).create_empty(task)

    def refuse(_task: TaskSnapshot) -> VersionRecord:
        raise RequestTooLarge("no")

    with pytest.raises(RequestTooLarge):
        await VersionRows(database).create(task.id, refuse, MINE)
    assert await state_of(database, task.id) == ("empty", None, None)


async def test_a_result_for_a_deleted_task_is_dropped(database: Database) -> None:
    version = await new_version(database)
    await TaskRows(database).delete(version.task_id)
    features = StoredFeatures("f" * 64, "b" * 64, (new_id(),))
    assert not await VersionRows(database).finish(claim_of(version), finished("1" * 64, features))
    assert await VersionRows(database).support(version) == []


async def test_features_of_an_example_deleted_meanwhile_are_passed_over(database: Database) -> None:
    version = await new_version(database)
    rows, examples = VersionRows(database), ExampleRows(database)
    support = await rows.support(version)
    await examples.delete(version.task_id, support[0].example_id)
    ids = tuple(row.example_id for row in support)
    await rows.finish(claim_of(version), finished("1" * 64, StoredFeatures("f" * 64, "b" * 64, ids)))
    assert [row.features for row in await rows.support(version)] == [None, ("f" * 64, 1)]


async def test_named_are_originals_features_parameters_and_the_support_of_unfinished_versions(
    database: Database,
) -> None:
    version = await new_version(database)
    rows, examples = VersionRows(database), ExampleRows(database)
    first, second = await rows.support(version)
    digests = [f"{1:064x}", f"{2:064x}", "1" * 64, "f" * 64, "0" * 64]
    await examples.delete(version.task_id, first.example_id)
    assert await examples.named(digests) == {f"{1:064x}", f"{2:064x}"}
    features = StoredFeatures("f" * 64, "b" * 64, (second.example_id,))
    await rows.finish(claim_of(version), finished("1" * 64, features))
    assert await examples.named(digests) == {f"{2:064x}", "1" * 64, "f" * 64}


async def test_named_takes_any_number_of_digests(database: Database) -> None:
    await new_version(database)
    assert await ExampleRows(database).named([f"{index:064x}" for index in range(3_000)]) == {f"{1:064x}", f"{2:064x}"}


async def test_a_task_with_the_most_examples_and_many_versions_stays_cheap(database: Database) -> None:
    task = record()
    examples = [example(f"class {index % 100}", index) for index in range(1000)]
    await TaskRows(database).create(task, examples, plan(None), lease=MINE, room=ROOM)
    rows = VersionRows(database)
    started = time.perf_counter()
    for _ in range(20):
        version = await rows.create(task.id, plan, MINE)
        await rows.finish(claim_of(version), finished("1" * 64))
    support = await rows.support(version)
    await TaskRows(database).delete(task.id)
    print(f"{(time.perf_counter() - started) * 1000 / 20:.0f} ms a version of 1,000 examples")
    assert [row.label for row in support] == [index // 10 for index in range(1000)]


async def test_a_page_of_tasks_shows_each_with_its_own_metadata(database: Database) -> None:
    rows = TaskRows(database)
    made = [record(line=str(index), site="north") for index in range(3)]
    await asyncio.gather(*(rows.create_empty(each) for each in made))
    tasks, cursor = await rows.page(limit=2, cursor=None, state="empty", metadata={"site": "north"})
    assert [task.row.id for task in tasks] == [made[2].id, made[1].id]
    assert [task.metadata["line"] for task in tasks] == ["2", "1"]
    rest, end = await rows.page(limit=2, cursor=cursor, state="empty", metadata={"site": "north"})
    assert ([task.row.id for task in rest], end) == ([made[0].id], None)
    assert await rows.page(limit=2, cursor=None, state=None, metadata={"line": "1", "site": "south"}) == ([], None)


async def test_changes_of_one_task_from_everywhere_never_lose_a_count(database: Database) -> None:
    version = await new_version(database)
    rows, examples = VersionRows(database), ExampleRows(database)
    changes = [examples.add(version.task_id, [example("a", seed), example("c", seed)], ROOM) for seed in range(10)]
    plans = [rows.create(version.task_id, plan, MINE) for _ in range(10)]
    await asyncio.gather(*changes, *plans, rows.finish(claim_of(version), finished("1" * 64)))
    task = await TaskRows(database).get(version.task_id)
    assert {each.label: each.n_examples for each in task.classes} == {"a": 11, "b": 1, "c": 10}
    assert task.row.current_version == 1
    assert task.row.pending_version == 11


async def test_a_task_that_does_not_exist_is_not_found(database: Database) -> None:
    with pytest.raises(TaskNotFound):
        await TaskRows(database).get(new_id())
    with pytest.raises(TaskNotFound):
        await TaskRows(database).delete(new_id())
    with pytest.raises(TaskNotFound):
        await TaskRows(database).serving(new_id(), None)


async def test_a_task_is_there_for_as_long_as_it_is_kept(database: Database) -> None:
    rows, task = TaskRows(database), dataclasses.replace(record(), keep_s=2.0)
    version = await rows.create(task, [example("a"), example("b")], plan(None), lease=SHORT, room=ROOM)
    assert 0 < ((await rows.serving(task.id, None)).left_s or 0) <= 2
    await asyncio.sleep(2.01)
    with pytest.raises(TaskNotFound):
        await rows.serving(task.id, None)
    with pytest.raises(TaskNotFound):
        await VersionRows(database).get(task.id, version.number)
    assert await VersionRows(database).free() is None
    assert await VersionRows(database).take(version, THEIRS) is None
