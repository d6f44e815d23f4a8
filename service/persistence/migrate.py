"""Bringing a database to the schema of this release.

The migrations lie in `migrations/` of a checkout and inside the package where it is installed. One process at a time
migrates a database: under an advisory lock on PostgreSQL, inside one IMMEDIATE transaction on SQLite. Another one
waits, and then finds nothing to do.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy import exc as sql
from sqlalchemy.pool import NullPool

from service.errors import SchemaOutdated, SetupError
from service.persistence.database import MIGRATE_COMMAND, Database, configure_sqlite, database_url

_PACKAGE = Path(__file__).resolve().parents[1]
_one_at_a_time = threading.Lock()  # alembic keeps what it runs in a global of the process
_LOCK_KEY = 0x48414E4446554C  # "HANDFUL"; any number that no other program locks in this database


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The revision a database has (None: none yet) and the one that this release needs."""

    found: str | None
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether the release can work with the database."""
        return self.found == self.needed


def migrate(url: str) -> None:
    """Bring the database to the schema of this release; blocks.

    Raises:
        SetupError: the database cannot be reached, or a migration failed; nothing was changed then.
    """
    try:
        with _one_at_a_time, _connection(url) as connection, connection.begin():
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except sql.DBAPIError as error:
        raise SetupError(f"the database cannot be migrated: {error.orig}") from error


def schema_state(url: str) -> SchemaState:
    """What the database has and what this release needs; blocks.

    Raises:
        SetupError: the database cannot be reached.
    """
    try:
        with _connection(url) as connection:
            return SchemaState(_revision(connection), needed_revision())
    except sql.DBAPIError as error:
        raise SetupError(f"the database cannot be read: {error.orig}") from error


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
        raise SchemaOutdated(
            f"the database has schema {state.found or 'none'}, this release needs {state.needed}; "
            f"run `{MIGRATE_COMMAND}`"
        )


@cache
def needed_revision() -> str:
    """The newest revision among the migrations of this release."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise SetupError(f"there are no migrations in {scripts_folder()}")
    return revision


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


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """A connection that is alone in migrating the database."""
    parsed = database_url(url)
    engine = create_engine(parsed, poolclass=NullPool)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
        configure_sqlite(engine, "BEGIN IMMEDIATE")
    with engine.connect() as connection:
        if not is_sqlite:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
        yield connection
