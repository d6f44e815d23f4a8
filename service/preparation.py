"""What must be so before the service starts: a database with its schema, and a data folder that nobody else serves."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from service.errors import ConfigurationError
from service.persistence.migrate import migrate, wait_for_schema
from service.settings import Settings

DATABASE_PATIENCE_S: Final = 60.0


def database_url(settings: Settings) -> str:
    """The database of the settings: the one named, or the embedded SQLite file in the data folder."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir / 'handful.db'}"


def prepare_database(settings: Settings, *, patience_s: float = DATABASE_PATIENCE_S) -> None:
    """Migrate the embedded SQLite file; of any other database, see that its schema is ours.

    A database server, and then the one that migrates it, may start later than this process: each is waited for.

    Args:
        settings: they name the database.
        patience_s: for how long.

    Raises:
        SchemaOutdated: its schema is another one.
        SetupError: the database cannot be reached or migrated.
    """
    if settings.database_url is None:
        migrate(database_url(settings))
        return
    url = database_url(settings)
    wait_for_schema(url, patience_s=0 if url.startswith("sqlite") else patience_s)


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Be the only service on the data folder, where the database is SQLite: it then owns every unfinished task.

    Raises:
        ConfigurationError: another one is running, or the folder cannot be written.
    """
    if not database_url(settings).startswith("sqlite"):
        yield
        return
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        file = (settings.data_dir / "lock").open("w")
    except OSError as error:
        raise ConfigurationError(f"the data folder {settings.data_dir} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(
                f"another service is running on the data folder {settings.data_dir}; stop it, or set HANDFUL_DATA_DIR"
            ) from None
        yield


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End at SIGTERM inside the block, also as the first process of a container, which the signal would not end.

    Why not an exception: raised where Python ignores exceptions, in a destructor, it would end nothing.
    """

    def end(signum: int, _frame: object) -> NoReturn:
        os._exit(128 + signum)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
