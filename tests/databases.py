"""Real databases for tests: a SQLite file, and a throwaway database on a local PostgreSQL where one answers.

The server is looked for at HANDFUL_TEST_POSTGRESQL, by default postgresql://127.0.0.1:5432/postgres, as the first of
two usual users.
"""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from service.persistence.database import Database, database_url
from service.persistence.migrate import migrate

SERVER = os.environ.get("HANDFUL_TEST_POSTGRESQL", "postgresql://127.0.0.1:5432/postgres")
USERS = ("postgres", "root")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a database of this test session, empty at first and dropped afterwards."""
    user = _user_that_is_let_in()
    name = f"handful_test_{secrets.token_hex(6)}"
    with psycopg.connect(SERVER, user=user, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield database_url(SERVER).set(database=name, username=user).render_as_string(hide_password=False)
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="session")
def migrated_postgresql_url(postgresql_url: str) -> str:
    """The URL of its schema with the tables of this release."""
    url = _in_schema(postgresql_url, "migrated")
    migrate(url)
    return url


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables of this release, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "handful.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def empty_postgresql_url(postgresql_url: str) -> str:
    """The URL of a schema of it without a table."""
    return _in_schema(postgresql_url, "empty")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a table, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/handful.db"
    url: str = request.getfixturevalue("empty_postgresql_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the tables of this release and nothing in them, of each kind."""
    if request.param == "sqlite":
        path: Path = request.getfixturevalue("migrated_sqlite_file")
        return f"sqlite:///{shutil.copy(path, tmp_path / 'handful.db')}"
    url: str = request.getfixturevalue("migrated_postgresql_url")
    execute(url, "DELETE FROM task; DELETE FROM idempotency")
    return url


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """An open database with the tables of this release and nothing in them."""
    opened = Database(migrated_url)
    yield opened
    await opened.close()


def _user_that_is_let_in() -> str:
    for user in USERS:
        try:
            psycopg.connect(SERVER, user=user, connect_timeout=2).close()
        except psycopg.OperationalError:
            continue
        return user
    pytest.skip(f"no PostgreSQL lets {' or '.join(USERS)} in at {SERVER}")


def _in_schema(url: str, schema: str) -> str:
    """The URL of a schema of the database, made empty."""
    execute(url, f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
    query = {"options": f"-csearch_path={schema}"}
    return database_url(url).update_query_dict(query).render_as_string(hide_password=False)


def execute(url: str, statements: str) -> None:
    """Run SQL."""
    engine = create_engine(database_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(statements))
