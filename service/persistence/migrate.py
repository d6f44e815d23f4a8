"""Bringing a database to the schema of this release."""

from service.persistence.database import Database


def migrate(database_url: str) -> None:
    """Bring the database to the schema of this release; blocks, and waits for another one that does the same."""
    raise NotImplementedError


async def check_schema(database: Database) -> None:
    """Return if the schema is the one of this release.

    Raises:
        SchemaOutdated: it is not; the message says which command to run.
    """
    raise NotImplementedError
