"""`handful serve` and `handful migrate`; a service that runs is in test_tasks.py."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Handful


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the settings; no `.env` is near."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDFUL_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_migrate_makes_the_tables_and_may_run_again(handful: Handful, data_dir: Path) -> None:
    assert handful("migrate").code == 0
    assert handful("migrate").code == 0
    with sqlite3.connect(data_dir / "handful.db") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()
    assert {"task", "version", "example"} <= tables


def test_a_database_that_does_not_answer_is_one_sentence(handful: Handful, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    ran = handful("migrate")
    assert ran.code == 1
    assert ran.err.startswith("handful: ")


def test_a_misspelt_variable_is_in_the_log_of_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_HSOT", "0.0.0.0")
    monkeypatch.setenv("HANDFUL_DATABASE_URL", "sqlite:////dev/null/none")
    assert "HANDFUL_HSOT is no setting and changes nothing; did you mean HANDFUL_HOST?" in serve().stderr


def test_a_setting_that_cannot_be_right_is_one_sentence() -> None:
    done = serve("--port", "99999")
    assert done.returncode == 1
    assert "HANDFUL_PORT cannot be used" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_address_that_others_reach_is_not_served_without_a_key() -> None:
    done = serve("--host", "0.0.0.0")
    assert done.returncode == 1
    assert "HANDFUL_API_KEY is not set" in done.stderr


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `handful serve` in a process of its own: it sets up logging for the whole process."""
    command = [sys.executable, "-m", "service", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
