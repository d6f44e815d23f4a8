"""Bringing a database to the schema of this release.

The migrations lie in `migrations/` of a checkout and inside the package where it is installed. One process at a time
migrates a database: under an advisory lock on PostgreSQL, inside one IMMEDIATE transaction on SQLite. Another one
waits, and then finds nothing to do.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy import exc as sql
from sqlalchemy.pool import NullPool

from service.errors import SchemaOutdated, SetupError
from service.persistence.database import MIGRATE_COMMAND, Database, configure_sqlite, database_url

_PACKAGE = Path(__file__).resolve().parents[1]
_one_at_a_time = threading.Lock()  # alembic keeps what it runs in a global of the process
_LOCK_KEY = 0x48414E4446554C  # "HANDFUL"; any number that no other program locks in this database
_CONNECT_TIMEOUT_S = 10
_LOOK_EVERY_S = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The revision a database has (None: none yet) and the one that this release needs."""

    found: str | None
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether the release can work with the database."""
        return self.found == self.needed

    @property
    def is_newer(self) -> bool:
        """Whether a release that this one does not know migrated the database."""
        return self.found is not None and self.found not in _known_revisions()

    @property
    def problem(self) -> SchemaOutdated:
        """What is wrong with a schema that is not current."""
        if self.is_newer:
            return SchemaOutdated(
                f"the database has schema {self.found}, which this release does not know; "
                "run the release that migrated it, or a newer one"
            )
        return SchemaOutdated(
            f"the database has schema {self.found or 'none'}, this release needs {self.needed}; run `{MIGRATE_COMMAND}`"
        )


def migrate(url: str) -> None:
    """Bring the database to the schema of this release; blocks.

    Raises:
        SetupError: the database cannot be reached, or a migration failed; nothing was changed then.
        SchemaOutdated: its schema is of a newer release.
    """
    try:
        with _one_at_a_time, migrating_connection(url) as connection, connection.begin():
            before = _revision(connection)
            config = _config()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise SchemaState(_revision(connection), needed_revision()).problem from error
            if _revision(connection) != before:
                _check_references(connection)
    except sql.DBAPIError as error:
        raise SetupError(f"the database cannot be migrated: {_reason(error)}") from error


def schema_state(url: str) -> SchemaState:
    """What the database has and what this release needs; blocks.

    Raises:
        SetupError: the database cannot be reached.
    """
    try:
        with _connection(url) as connection:
            return SchemaState(_revision(connection), needed_revision())
    except sql.DBAPIError as error:
        raise SetupError(f"the database cannot be read: {_reason(error)}") from error


def wait_for_schema(url: str, *, patience_s: float) -> None:
    """Return once the database answers and has the schema of this release; blocks.

    Args:
        url: of the database.
        patience_s: how long to wait for the database, and then for the schema.

    Raises:
        SetupError: the database does not answer within this time.
        ConfigurationError: at once: the URL names none that could.
        SchemaOutdated: it has another schema after this time, or at once if that is of a newer release.
    """
    database_url(url)
    wait = _Wait(patience_s)
    while True:
        try:
            state = schema_state(url)
        except SetupError as error:
            wait.go_on(error)
        else:
            if state.is_current:
                return
            if state.is_newer:
                raise state.problem
            wait.go_on(state.problem)
        time.sleep(_LOOK_EVERY_S)


class _Wait:
    """Patience with one problem after the other, each said once."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._kind: type[SetupError] | None = None
        self._deadline = 0.0

    def go_on(self, problem: SetupError) -> None:
        """Return as long as there is patience left for a problem of this class; then raise it."""
        if self._kind is not type(problem):
            self._kind, self._deadline = type(problem), time.monotonic() + self._patience_s
            if self._patience_s > 0:
                log.warning("waiting up to %.0f s: %s", self._patience_s, problem.message)
        if time.monotonic() >= self._deadline:
            raise problem


async def check_schema(database: Database) -> None:
    """Return if the schema is the one of this release.

    Raises:
        SchemaOutdated: it is not; the message says which command to run.
        Unavailable: the database does not answer.
    """
    async with database.read() as session:
        connection = await session.connection()
        state = SchemaState(await connection.run_sync(_revision), needed_revision())
    if not state.is_current:
        raise state.problem


@cache
def needed_revision() -> str:
    """The newest revision among the migrations of this release."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise SetupError(f"there are no migrations in {scripts_folder()}")
    return revision


@cache
def _known_revisions() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def scripts_folder() -> Path:
    """Where the migrations lie: in the installed package, else in the checkout around it.

    Raises:
        SetupError: in neither.
    """
    for folder in (_PACKAGE / "migrations", _PACKAGE.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise SetupError(f"the migrations are missing beside {_PACKAGE}; install the package again")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _reason(error: sql.DBAPIError) -> str:
    """What the database's driver said, on one line; the indented ones are its guesses."""
    return " ".join(line for line in str(error.orig).splitlines() if not line.startswith("\t"))


@contextmanager
def migrating_connection(url: str) -> Iterator[Connection]:
    """The only connection that migrates the database at the time.

    On SQLite without foreign keys: there a table is changed by being made anew, and dropping the old one would delete
    every row that refers to it.
    """
    with _connection(url, begin="BEGIN IMMEDIATE", foreign_keys=False) as connection:
        if connection.dialect.name != "sqlite":
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
        yield connection


@contextmanager
def _connection(url: str, *, begin: str = "BEGIN", foreign_keys: bool = True) -> Iterator[Connection]:
    """A connection; how it begins and whether it minds foreign keys is asked on SQLite only."""
    parsed = database_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    timeout = {} if is_sqlite else {"connect_timeout": _CONNECT_TIMEOUT_S}
    engine = create_engine(parsed, poolclass=NullPool, connect_args=timeout)
    if is_sqlite:
        Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
        configure_sqlite(engine, begin, foreign_keys=foreign_keys)
    with engine.connect() as connection:
        yield connection


def _check_references(connection: Connection) -> None:
    """Return if every row that refers to another finds it; PostgreSQL has checked that all along."""
    if connection.dialect.name == "sqlite" and (lost := connection.execute(text("PRAGMA foreign_key_check")).first()):
        raise SetupError(f"the database cannot be migrated: a row of {lost[0]} refers to a {lost[2]} that is not there")
