"""Connections to a PostgreSQL server, on which nothing waits without an end.

The server itself gives up a statement that takes too long or waits too long for a lock, and a transaction that its
owner left open. A server that does not even say so, because it or the network hangs, is given up here: the socket is
shut, which the driver takes for a broken connection.

Why not a cancellation: it would first ask the hanging server to cancel, and roll back there.
"""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_CONNECTIONS = 10
_CONNECTED_S = 60.0


@dataclass(frozen=True, slots=True)
class ServerPatience:
    """How long is waited for a server, in seconds.

    Attributes:
        connect_s: for a connection.
        free_s: for one of this process's connections to be free.
        statement_s, lock_s: the server's bounds of a statement, and of its waiting for a lock.
        idle_s: the server's bound of a transaction in which nothing happens: the locks of a process that hangs.
        answer_s: for any answer of the server.
    """

    connect_s: int = 10
    free_s: float = 30.0
    statement_s: float = 20.0
    lock_s: float = 10.0
    idle_s: float = 60.0
    answer_s: float = 25.0


def server_engine(url: URL, patience: ServerPatience) -> AsyncEngine:
    """An engine whose connections give up."""

    async def connected(*arguments: Any, **options: Any) -> psycopg.AsyncConnection[Any]:  # noqa: ANN401  # libpq's
        connection = await _Connection.connect(*arguments, **options)
        connection.answer_s = patience.answer_s
        return connection

    engine = create_async_engine(
        url,
        pool_size=_CONNECTIONS,
        max_overflow=_CONNECTIONS,
        pool_timeout=patience.free_s,
        pool_pre_ping=True,
        connect_args={
            "application_name": "handful",
            "connect_timeout": patience.connect_s,
            "async_creator_fn": connected,
        },
    )
    _set_bounds(engine.sync_engine, patience)
    return engine


def _set_bounds(engine: Engine, patience: ServerPatience) -> None:
    """By statements, not by connection options: those of the URL stay as they are, and poolers refuse them."""
    bounds = {
        "statement_timeout": patience.statement_s,
        "lock_timeout": patience.lock_s,
        "idle_in_transaction_session_timeout": patience.idle_s,
    }

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        for name, seconds in bounds.items():
            cursor.execute(f"SET {name} = {round(1000 * seconds)}")
        cursor.close()
        connection.commit()


class _Connection(psycopg.AsyncConnection[Any]):
    """A connection that breaks where the server does not answer in time."""

    answer_s = 0.0
    """How long an exchange may take; set once it is connected, for which the driver has a bound of its own."""

    async def wait(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # as the driver has it
        """What the server answers; called by the driver for every exchange."""
        giving_up = asyncio.get_running_loop().call_later(self.answer_s or _CONNECTED_S, self._shut)
        try:
            return await super().wait(*arguments, **options)
        finally:
            giving_up.cancel()

    def _shut(self) -> None:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.pgconn.socket)) as copy:
            copy.shutdown(socket.SHUT_RDWR)
