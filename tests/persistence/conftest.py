"""The tables on SQLite and on PostgreSQL."""

from tests.databases import (
    database,
    empty_postgresql_url,
    empty_url,
    migrated_postgresql_url,
    migrated_sqlite_file,
    migrated_url,
    postgresql_url,
)

__all__ = [
    "database",
    "empty_postgresql_url",
    "empty_url",
    "migrated_postgresql_url",
    "migrated_sqlite_file",
    "migrated_url",
    "postgresql_url",
]
