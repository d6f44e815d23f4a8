"""Runs the migrations on a connection: the one that `service.persistence.migrate` hands over, or one by URL.

A developer writes the next migration with

    alembic -x database=sqlite:///scratch.db upgrade head
    alembic -x database=sqlite:///scratch.db revision --autogenerate --message "add task digest"
"""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, create_engine

from service.persistence.columns import UtcDateTime
from service.persistence.database import configure_sqlite, database_url
from service.persistence.orm import Base


def render_type(kind: str, element: object, _context: object) -> str | Literal[False]:
    """Columns of times are written as plain SQLAlchemy, so that a migration does not change with our code."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(element, UtcDateTime) else False


def run(connection: Connection) -> None:
    """Every step in one transaction, on SQLite too."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_item=render_type,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def connection_by_url(arguments: dict[str, Any]) -> Connection:
    """A connection to the database named on the command line."""
    if "database" not in arguments:
        raise SystemExit("name a database: alembic -x database=sqlite:///scratch.db ...")
    url = database_url(arguments["database"])
    engine = create_engine(url)
    if url.get_backend_name() == "sqlite":
        configure_sqlite(engine, "BEGIN IMMEDIATE")
    return engine.connect()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with connection_by_url(context.get_x_argument(as_dictionary=True)) as opened:
        run(opened)
