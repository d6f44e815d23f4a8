"""Column types and expressions that mean the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A time with a zone, stored in UTC; SQLite would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC, refusing times without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """With the zone that SQLite forgot."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _DatabaseTime(GenericFunction[datetime]):
    """The database's own clock and some seconds; every process that shares the database reads the same one."""

    type = UtcDateTime()
    inherit_cache = True
    name = "database_time"


def database_time(plus_s: float = 0.0) -> _DatabaseTime:
    """The time by the database's clock, plus_s from now."""
    return _DatabaseTime(bindparam(None, float(plus_s), type_=Float()))


@compiles(_DatabaseTime, "postgresql")
def _on_postgresql(element: _DatabaseTime, compiler: SQLCompiler, **kwargs: Any) -> str:  # noqa: ANN401
    seconds = compiler.process(element.clauses, **kwargs)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(_DatabaseTime, "sqlite")
def _on_sqlite(element: _DatabaseTime, compiler: SQLCompiler, **kwargs: Any) -> str:  # noqa: ANN401
    # the text form in which SQLAlchemy stores a time, so that the two compare as text
    seconds = compiler.process(element.clauses, **kwargs)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000')"


def utc_now() -> datetime:
    """The time by this process's clock."""
    return datetime.now(UTC)
