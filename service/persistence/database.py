"""The connection to the database: SQLite or PostgreSQL, transactions that read and transactions that write.

Why two engines on SQLite: a transaction that reads first and writes later fails with "database is locked" when
another one wrote in between, whatever the timeout. Those that write begin IMMEDIATE, on one connection, so that the
writers of this process wait in line instead of polling the file.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy import exc as sql
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from service.errors import ConfigurationError, SchemaOutdated, StorageFull, Unavailable
from service.persistence.server import ServerPatience, server_engine

MIGRATE_COMMAND = "handful migrate"
_BUSY_TIMEOUT_MS = 30_000
_POOL_TIMEOUT_S = 30.0
_READ_CONNECTIONS = 5
_MISSING = re.compile(r"no such (table|column)|UndefinedTable|UndefinedColumn")
_FULL = re.compile(r"disk is full|DiskFull|No space left")


class Database:
    """A database by its URL: `sqlite:///data/handful.db` or `postgresql://user@host/name`.

    Args:
        url: of the database.
        patience: how long a server is waited for.

    Raises:
        ConfigurationError: the URL is none of these.
    """

    def __init__(self, url: str, *, patience: ServerPatience | None = None) -> None:
        parsed = database_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._readers, self._writers = _sqlite_engines(parsed)
        else:
            self._readers = self._writers = server_engine(parsed, patience or ServerPatience())
        self._read = async_sessionmaker(self._readers, expire_on_commit=False)
        self._write = async_sessionmaker(self._writers, expire_on_commit=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads.

        Raises:
            Unavailable: the database does not answer.
            SchemaOutdated: it lacks a table or a column.
        """
        with _errors_translated():
            async with self._read() as session, session.begin():
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that writes, committed at the end unless there is an exception.

        Raises:
            Unavailable, SchemaOutdated: as for `read`.
            StorageFull: there is no space left.
        """
        with _errors_translated():
            async with self._write() as session, session.begin():
                yield session

    async def close(self) -> None:
        """Close every connection."""
        await self._readers.dispose()
        await self._writers.dispose()


def database_url(url: str) -> URL:
    """The URL with the name of a driver of ours for blocking use.

    Raises:
        ConfigurationError: it is no URL, or names a database other than SQLite in a file or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except sql.ArgumentError:
        raise ConfigurationError("the database URL cannot be read; expected sqlite:/// or postgresql://") from None
    name = parsed.drivername.partition("+")[0]
    if name in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if name == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite")
    raise ConfigurationError(f"a database of type {name!r} is not supported; use sqlite:///FILE or postgresql://")


def configure_sqlite(engine: Engine, begin: str, *, foreign_keys: bool = True) -> None:
    """Change the engine so that every connection is durable and waits, and transactions start with `begin`."""

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _record: object) -> None:
        # the driver would begin transactions by itself, and later than asked
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _sqlite_engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    url = url.set(drivername="sqlite+aiosqlite")
    settings: dict[str, Any] = {"max_overflow": 0, "pool_timeout": _POOL_TIMEOUT_S}
    readers = create_async_engine(url, pool_size=_READ_CONNECTIONS, **settings)
    writers = create_async_engine(url, pool_size=1, **settings)
    configure_sqlite(readers.sync_engine, "BEGIN")
    configure_sqlite(writers.sync_engine, "BEGIN IMMEDIATE")
    return readers, writers


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except sql.TimeoutError:
        raise Unavailable("every connection to the database is in use; try again after a pause") from None
    except (sql.OperationalError, sql.InterfaceError, sql.InternalError, sql.ProgrammingError) as error:
        text = f"{type(error.orig).__name__} {error.orig}"
        if _MISSING.search(text):
            raise SchemaOutdated(f"the database lacks a table or a column; run `{MIGRATE_COMMAND}`") from error
        if _FULL.search(text):
            raise StorageFull("there is no space left for the database") from error
        if isinstance(error, sql.ProgrammingError):
            raise
        raise Unavailable("the database does not answer; try again after a pause") from error
