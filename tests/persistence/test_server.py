"""A database server that hangs: whoever asks is told in bounded time, and finds it again when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from service.errors import Unavailable
from service.persistence.database import Database
from service.persistence.server import ServerPatience
from tests.databases import migrated_postgresql_url, postgresql_url

__all__ = ["migrated_postgresql_url", "postgresql_url"]

IMPATIENT = ServerPatience(connect_s=2, statement_s=0.3, lock_s=0.2, idle_s=0.3, answer_s=0.8)


class Line:
    """A line to the server that can go dead: connections stay, and nothing comes through."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._pumps: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        """The database by way of this line."""
        port = self._server.sockets[0].getsockname()[1]
        return self._url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    def go_dead(self) -> None:
        self._is_open.clear()

    def come_back(self) -> None:
        self._is_open.set()

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await asyncio.open_connection(self._url.host, self._url.port or 5432)
        for source, target in ((reader, theirs[1]), (theirs[0], writer)):
            self._pumps.append(asyncio.create_task(self._pump(source, target)))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while data := await source.read(2**16):
                    await self._is_open.wait()
                    target.write(data)
                    await target.drain()
        finally:
            target.close()


@pytest.fixture
async def line(migrated_postgresql_url: str) -> AsyncIterator[Line]:
    line = Line(migrated_postgresql_url)
    await line.start()
    yield line
    await line.close()


@pytest.fixture
async def database(line: Line) -> AsyncIterator[Database]:
    database = Database(line.url, patience=IMPATIENT)
    yield database
    await database.close()


async def ask(database: Database, statement: str = "SELECT 1") -> int | None:
    async with database.read() as session:
        found: int | None = await session.scalar(text(statement))
        return found


async def ask_meanwhile(database: Database, happen: Callable[[], None], *, first: str = "SELECT 1") -> None:
    """Two statements of one transaction, between which something happens."""
    async with database.write() as session:
        await session.execute(text(first))
        happen()
        await session.execute(text("SELECT 2"))


async def test_a_server_that_goes_silent_is_unavailable_and_found_again(line: Line, database: Database) -> None:
    assert await ask(database) == 1
    line.go_dead()
    since = time.monotonic()
    with pytest.raises(Unavailable):
        await ask(database)
    assert time.monotonic() - since < 8
    line.come_back()
    assert await ask(database) == 1


async def test_a_server_that_goes_silent_in_a_transaction_is_unavailable(line: Line, database: Database) -> None:
    with pytest.raises(Unavailable):
        await ask_meanwhile(database, line.go_dead)
    line.come_back()
    assert await ask(database) == 1


async def test_a_statement_that_takes_too_long_is_given_up(database: Database) -> None:
    with pytest.raises(Unavailable):
        await ask(database, "SELECT 1 FROM pg_sleep(5)")
    assert await ask(database) == 1


async def test_a_lock_that_somebody_keeps_is_given_up(database: Database, migrated_postgresql_url: str) -> None:
    keeper = Database(migrated_postgresql_url)
    async with keeper.write() as session:
        await session.execute(text("LOCK TABLE task"))
        with pytest.raises(Unavailable):
            await ask(database, "SELECT count(*) FROM task")
    assert await ask(database, "SELECT count(*) FROM task") is not None
    await keeper.close()


async def test_the_locks_of_one_that_stands_still_are_freed(database: Database, migrated_postgresql_url: str) -> None:
    patient = Database(migrated_postgresql_url)
    with pytest.raises(Unavailable):
        await ask_meanwhile(database, lambda: time.sleep(1), first="LOCK TABLE task")
    assert await ask(patient, "SELECT count(*) FROM task") is not None
    await patient.close()


async def test_options_of_the_url_are_kept(migrated_postgresql_url: str) -> None:
    database = Database(f"{migrated_postgresql_url}{quote(' -c work_mem=7MB')}")
    async with database.read() as session:
        assert await session.scalar(text("SHOW work_mem")) == "7MB"
        assert await session.scalar(text("SHOW statement_timeout")) == "20s"
    await database.close()
