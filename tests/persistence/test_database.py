"""Connections: which databases, how durable, and what becomes of their errors."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from service.errors import ConfigurationError, SchemaOutdated, Unavailable
from service.persistence.columns import database_time, utc_now
from service.persistence.database import Database, database_url
from service.persistence.ids import new_id
from service.persistence.orm import Task


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://user@host/name", "postgresql+psycopg"),
        ("postgres://user@host/name", "postgresql+psycopg"),
        ("postgresql+psycopg2://user@host/name", "postgresql+psycopg"),
        ("sqlite:///data/handful.db", "sqlite"),
        ("sqlite+aiosqlite:///data/handful.db", "sqlite"),
    ],
)
def test_a_url_gets_the_driver_that_is_installed(url: str, driver: str) -> None:
    assert database_url(url).drivername == driver


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/name", "sqlite://", "sqlite:///:memory:"])
def test_a_url_of_another_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        database_url(url)


async def test_sqlite_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new folder/handful.db")
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    async with database.write() as session:
        values = [await session.scalar(text(f"PRAGMA {name}")) for name in names]
    assert values == ["wal", 2, 1, 30_000]
    await database.close()


async def test_an_exception_undoes_the_transaction(database: Database) -> None:
    with pytest.raises(RuntimeError):
        await write_and_fail(database)
    assert await count_tasks(database) == 0


async def test_64_writers_that_read_first_are_never_locked_out(database: Database) -> None:
    await asyncio.gather(*(count_and_write(database) for _ in range(64)))
    assert await count_tasks(database) == 64


async def test_writers_of_two_processes_on_one_database_wait_for_each_other(
    database: Database, migrated_url: str
) -> None:
    other = Database(migrated_url)
    await asyncio.gather(*(count_and_write(each) for each in [database, other] * 32))
    assert await count_tasks(database) == 64
    await other.close()


async def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    async with database.write() as session:
        session.add(task())
        await session.flush()
        async with asyncio.timeout(5):
            assert await count_tasks(database) == 0
    assert await count_tasks(database) == 1


async def test_the_clock_of_the_database_is_ours_on_one_machine(database: Database) -> None:
    async with database.read() as session:
        now = await session.scalar(select(database_time()))
        later = await session.scalar(select(database_time(15)))
    assert now is not None
    assert later is not None
    assert abs((utc_now() - now).total_seconds()) < 5
    assert 14.9 < (later - now).total_seconds() < 16


async def test_a_time_is_read_as_it_was_written(database: Database) -> None:
    written = task()
    async with database.write() as session:
        session.add(written)
    async with database.read() as session:
        read = await session.get_one(Task, written.id)
    assert read.created_at == written.created_at
    assert read.created_at.tzinfo is not None


async def test_a_database_without_tables_is_outdated(empty_url: str) -> None:
    database = Database(empty_url)
    with pytest.raises(SchemaOutdated, match="run `handful migrate`"):
        await count_tasks(database)
    await database.close()


async def test_a_database_that_does_not_answer_is_unavailable() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable, match="does not answer"):
        await count_tasks(database)
    await database.close()


def task() -> Task:
    return Task(id=new_id(), prior="balanced")


async def count_tasks(database: Database) -> int | None:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Task))


async def count_and_write(database: Database) -> None:
    async with database.write() as session:
        await session.scalar(select(func.count()).select_from(Task))
        session.add(task())


async def write_and_fail(database: Database) -> None:
    async with database.write() as session:
        session.add(task())
        await session.flush()
        raise RuntimeError
