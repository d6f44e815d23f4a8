"""Which version answers for a task: a bounded map in front of the database."""

from service.persistence.database import Database


class ServingVersions:
    """Keeps (task, version) -> what a prediction needs, so that most predictions ask no database.

    Args:
        max_age_s: how long an entry may hide what another process changed; a change through this process is
            seen at once. None chooses 1 s for PostgreSQL and 60 s for SQLite, which one process owns.
    """

    def __init__(self, database: Database, *, max_age_s: float | None = None) -> None:
        raise NotImplementedError
