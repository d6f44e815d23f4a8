"""Keys on both databases: one run at a time, one thing stored, the answer kept for a while."""

import asyncio

import pytest

from service.errors import IdempotencyKeyReused, RequestInProgress
from service.persistence.database import Database
from service.persistence.idempotency import KeyRows
from service.persistence.ids import new_id
from service.persistence.records import Answer, BegunRun, KeyedRequest, TaskRecord
from service.persistence.tasks import TaskRows

REQUEST = KeyedRequest("k1", "POST /v1/tasks", "a" * 64)
OTHER_BODY = KeyedRequest("k1", "POST /v1/tasks", "b" * 64)
OTHER_TARGET = KeyedRequest("k1", "POST /v1/tasks/1/adapt", "b" * 64)
ANSWER = Answer(201, {"Location": "/v1/tasks/7"}, '{"name": "größer"}'.encode())


@pytest.fixture
def keys(database: Database) -> KeyRows:
    return KeyRows(database)


def dying(database: Database) -> KeyRows:
    """Keys of a process whose leases have run out when they begin: it is as good as dead."""
    return KeyRows(database, lease_s=-1)


def task() -> TaskRecord:
    return TaskRecord(new_id(), "kept", None, None, "balanced", {})


async def begun(keys: KeyRows, request: KeyedRequest = REQUEST) -> BegunRun:
    found = await keys.begin(request)
    assert isinstance(found, BegunRun)
    return found


async def test_an_answer_is_given_again(keys: KeyRows) -> None:
    first = await begun(keys)
    assert first.created is None
    await keys.finish(first.run, ANSWER)
    assert await keys.begin(REQUEST) == ANSWER


async def test_another_body_under_the_key_is_refused_during_and_after_the_first(keys: KeyRows) -> None:
    first = await begun(keys)
    with pytest.raises(IdempotencyKeyReused, match="'k1' was used for POST /v1/tasks with another body"):
        await keys.begin(OTHER_BODY)
    await keys.finish(first.run, ANSWER)
    with pytest.raises(IdempotencyKeyReused):
        await keys.begin(OTHER_BODY)


async def test_a_key_is_another_one_under_another_address(keys: KeyRows) -> None:
    await keys.finish((await begun(keys)).run, ANSWER)
    assert (await begun(keys, OTHER_TARGET)).created is None


async def test_a_second_run_waits_for_the_first(keys: KeyRows) -> None:
    await begun(keys)
    with pytest.raises(RequestInProgress, match="still running"):
        await keys.begin(REQUEST)


async def test_of_many_that_begin_at_once_one_runs(keys: KeyRows) -> None:
    found = await asyncio.gather(*(keys.begin(REQUEST) for _ in range(16)), return_exceptions=True)
    assert sum(isinstance(each, BegunRun) for each in found) == 1
    assert sum(isinstance(each, RequestInProgress) for each in found) == 15


async def test_a_run_that_stored_nothing_leaves_its_key_free_for_any_body(keys: KeyRows) -> None:
    await keys.give_up((await begun(keys)).run)
    assert (await begun(keys, OTHER_BODY)).created is None


async def test_a_run_that_stored_something_and_failed_leaves_what_it_stored(keys: KeyRows, database: Database) -> None:
    first, made = await begun(keys), task()
    await TaskRows(database).create_empty(made, first.run)
    await keys.give_up(first.run)
    assert (await begun(keys)).created == (str(made.id),)


async def test_the_key_of_a_dead_process_is_taken_over_with_what_it_stored(keys: KeyRows, database: Database) -> None:
    dead, made = await begun(dying(database)), task()
    await TaskRows(database).create_empty(made, dead.run)
    assert (await begun(keys)).created == (str(made.id),)


async def test_a_run_whose_key_was_taken_over_stores_nothing_any_more(keys: KeyRows, database: Database) -> None:
    slow = await begun(dying(database))
    await begun(keys)
    with pytest.raises(RequestInProgress, match="another one has its idempotency key"):
        await TaskRows(database).create_empty(task(), slow.run)
    tasks, _ = await TaskRows(database).page(limit=1, cursor=None, state=None, metadata={})
    assert tasks == []


async def test_a_run_whose_key_was_taken_over_changes_nothing_of_it(keys: KeyRows, database: Database) -> None:
    slow = await begun(dying(database))
    taken = await begun(keys)
    await keys.finish(slow.run, Answer(500, {}, b"late"))
    await keys.give_up(slow.run)
    await keys.renew(slow.run)
    await keys.finish(taken.run, ANSWER)
    assert await keys.begin(REQUEST) == ANSWER


async def test_a_run_that_renews_its_lease_keeps_its_key(keys: KeyRows, database: Database) -> None:
    running = await begun(dying(database))
    await keys.renew(running.run)
    with pytest.raises(RequestInProgress):
        await keys.begin(REQUEST)


async def test_leases_can_be_voided_for_a_database_of_one_process(keys: KeyRows) -> None:
    await begun(keys)
    await keys.void_leases()
    assert (await begun(keys)).created is None


async def test_a_key_means_nothing_any_more_after_its_time(keys: KeyRows, database: Database) -> None:
    await keys.finish((await begun(KeyRows(database, kept_s=-1))).run, ANSWER)
    assert (await begun(keys, OTHER_BODY)).created is None


async def test_what_was_kept_long_enough_is_purged_and_nothing_else(keys: KeyRows, database: Database) -> None:
    await keys.finish((await begun(KeyRows(database, kept_s=-1))).run, ANSWER)
    await keys.finish((await begun(keys, OTHER_TARGET)).run, ANSWER)
    assert await keys.purge() == 1
    assert await keys.begin(OTHER_TARGET) == ANSWER
