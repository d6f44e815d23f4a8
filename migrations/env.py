"""Runs the migrations on a connection: the one that `service.persistence.migrate` hands over, or one by URL.

A developer writes the next migration with

    alembic -x database=sqlite:///scratch.db upgrade head
    alembic -x database=sqlite:///scratch.db revision --autogenerate --message "add task digest"
"""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

from service.persistence.columns import UtcDateTime
from service.persistence.migrate import migrating_connection
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


def named_database(arguments: dict[str, Any]) -> str:
    """The URL given on the command line."""
    if "database" not in arguments:
        raise SystemExit("name a database: alembic -x database=sqlite:///scratch.db ...")
    return str(arguments["database"])


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with migrating_connection(named_database(context.get_x_argument(as_dictionary=True))) as opened:
        run(opened)
