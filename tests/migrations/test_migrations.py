"""The migrations lead to the tables of the models, and back."""

import multiprocessing
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from service.errors import SchemaOutdated, SetupError
from service.persistence.database import Database, database_url
from service.persistence.migrate import (
    check_schema,
    migrate,
    migrating_connection,
    needed_revision,
    schema_state,
    scripts_folder,
    wait_for_schema,
)
from service.persistence.orm import Base
from tests.databases import execute

CHECKOUT = Path(__file__).resolve().parents[2]


def differences(url: str) -> list[object]:
    engine = create_engine(database_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def alembic(*words: str, url: str) -> None:
    command = [sys.executable, "-m", "alembic", "-x", f"database={url}", *words]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)


ONE_TASK = """INSERT INTO task (id, state, prior, created_at, updated_at)
VALUES ('00000000000000000000000000000001', 'empty', '"balanced"', '2026-11-25', '2026-11-25')"""
ONE_PAIR = "INSERT INTO task_metadata VALUES ('00000000000000000000000000000001', 'site', 'north')"
REBUILDING = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "rebuilt", {down_revision!r}


def upgrade():
    with op.batch_alter_table("task", recreate="auto") as table:
        table.alter_column("name", type_=sa.String(300))
"""


def with_a_migration(script: str, folder: Path, connection: Connection) -> Config:
    """The migrations of this release and one more, to run on the connection."""
    shutil.copytree(scripts_folder(), folder)
    (folder / "versions" / "rebuilt.py").write_text(script.format(down_revision=needed_revision()))
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    return config


def tables(url: str) -> set[str]:
    engine = create_engine(database_url(url), poolclass=NullPool)
    return set(inspect(engine).get_table_names())


def test_a_migrated_database_has_exactly_the_tables_of_the_models(migrated_url: str) -> None:
    assert differences(migrated_url) == []


def test_a_database_can_be_taken_up_and_down_and_up_again(empty_url: str) -> None:
    migrate(empty_url)
    alembic("downgrade", "base", url=empty_url)
    assert tables(empty_url) == {"alembic_version"}
    migrate(empty_url)
    assert differences(empty_url) == []


def test_a_table_that_a_migration_makes_anew_keeps_the_rows_that_refer_to_it(empty_url: str, tmp_path: Path) -> None:
    migrate(empty_url)
    execute(empty_url, ONE_TASK)
    execute(empty_url, ONE_PAIR)
    with migrating_connection(empty_url) as connection:
        command.upgrade(with_a_migration(REBUILDING, tmp_path / "migrations", connection), "head")
        assert connection.scalar(text("SELECT value FROM task_metadata")) == "north"


def test_a_row_that_refers_to_nothing_stops_the_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/handful.db"
    migrate(url)
    alembic("downgrade", "-1", url=url)
    execute(url, ONE_PAIR)
    with pytest.raises(SetupError, match="a row of task_metadata refers to a task that is not there"):
        migrate(url)


def test_migrating_twice_changes_nothing(migrated_url: str) -> None:
    migrate(migrated_url)
    assert schema_state(migrated_url).is_current


def test_the_command_of_alembic_finds_its_configuration(empty_url: str) -> None:
    alembic("upgrade", "head", url=empty_url)
    assert differences(empty_url) == []


def test_a_new_migration_is_named_by_its_time_and_subject(tmp_path: Path) -> None:
    config = Config(toml_file=CHECKOUT / "pyproject.toml")
    assert config.get_alembic_option("file_template") == (
        "%(year)d-%(month).2d-%(day).2d-%(hour).2d%(minute).2d_%(slug)s"
    )


def test_threads_that_migrate_at_the_same_time_wait_for_each_other(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty_url] * 4))
    assert schema_state(empty_url).is_current


def test_processes_that_migrate_at_the_same_time_wait_for_each_other(empty_url: str) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(migrate, [empty_url] * 2))
    assert schema_state(empty_url).found == needed_revision()


def test_the_schema_of_an_empty_database_is_not_current(empty_url: str) -> None:
    assert schema_state(empty_url).found is None
    assert not schema_state(empty_url).is_current


def test_a_schema_that_is_there_is_not_waited_for(migrated_url: str) -> None:
    wait_for_schema(migrated_url, patience_s=0)


def test_a_schema_that_does_not_come_is_refused_with_the_command_to_run(empty_url: str) -> None:
    with pytest.raises(SchemaOutdated, match=r"has schema none, .*run `handful migrate`"):
        wait_for_schema(empty_url, patience_s=0.2)


def test_a_database_that_does_not_come_is_refused_in_one_line() -> None:
    with pytest.raises(SetupError, match=r"cannot be read: .*refused") as caught:
        wait_for_schema("postgresql://nobody@127.0.0.1:1/nothing", patience_s=0.2)
    assert "\n" not in caught.value.message


def test_a_schema_that_comes_late_is_found(empty_url: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_schema, empty_url, patience_s=30)
        migrate(empty_url)
        assert waiting.result(20) is None


def test_the_schema_of_a_newer_release_is_refused_at_once(empty_url: str) -> None:
    migrate(empty_url)
    execute(empty_url, "UPDATE alembic_version SET version_num = '2099_01_01_0000'")
    with pytest.raises(SchemaOutdated, match="does not know"):
        wait_for_schema(empty_url, patience_s=60)
    with pytest.raises(SchemaOutdated, match="does not know"):
        migrate(empty_url)


async def test_an_empty_database_is_refused_with_the_command_to_run(empty_url: str) -> None:
    database = Database(empty_url)
    with pytest.raises(SchemaOutdated, match="run `handful migrate`"):
        await check_schema(database)
    await database.close()


async def test_a_migrated_database_is_accepted(database: Database) -> None:
    await check_schema(database)


def test_a_database_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(SetupError, match="cannot be migrated"):
        migrate("postgresql://nobody@127.0.0.1:1/nothing")


def test_every_migration_is_named_by_its_time() -> None:
    names = sorted(path.name for path in (scripts_folder() / "versions").glob("*.py"))
    assert names[0] == "2026-11-25-0107_create_task.py"
    assert names == sorted(names)
