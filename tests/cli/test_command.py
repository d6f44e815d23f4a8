"""The command as a whole: help, exit codes, speed."""

import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from service.cli.output import problem
from service.errors import Unauthorized
from tests.cli.conftest import Handful


def test_help_names_every_command(handful: Handful) -> None:
    ran = handful("--help")
    assert ran.code == 0
    assert {"serve", "migrate", "meta-train", "evaluate", "base-models", "tasks", "predict"} <= set(ran.out.split())


def test_help_is_quick_and_loads_neither_torch_nor_the_service() -> None:
    program = (
        "import sys\n"
        "from service.cli import build_app\n"
        "build_app()(args=['tasks', 'create', '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'httpx', 'fastapi', 'sqlalchemy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 10


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "service", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: handful")


def test_the_release_is_told(handful: Handful) -> None:
    ran = handful("--version")
    assert (ran.code, ran.out) == (0, f"handful {version('handful')}\n")


def test_wrong_usage_exits_with_2(handful: Handful) -> None:
    assert handful("tasks", "create", "mugs").code == 2
    assert handful("tasks", "fly").code == 2
    assert handful("tasks", "list", "--metadata", "no equals sign").code == 2


def test_a_problem_is_one_sentence_on_stderr_and_exits_with_1(handful: Handful) -> None:
    ran = handful("--url", "http://127.0.0.1:9", "tasks", "list")
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith("handful: no answer from http://127.0.0.1:9")
    assert ran.err.count("\n") == 1


def test_a_folder_without_images_is_a_problem(handful: Handful, tmp_path: Path) -> None:
    ran = handful("tasks", "create", "mugs", "--from", tmp_path)
    assert ran.code == 1
    assert "holds no class folders with images" in ran.err


def test_csv_and_json_at_once_is_wrong_usage(handful: Handful, tmp_path: Path) -> None:
    assert handful("predict", "mugs", tmp_path, "--csv", "--json").code == 2


def test_the_shell_is_told_how_to_complete_a_command() -> None:
    asked = {"_HANDFUL_COMPLETE": "complete_bash", "COMP_WORDS": "handful tasks ev", "COMP_CWORD": "2"}
    program = [sys.executable, "-m", "service"]
    done = subprocess.run(program, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["evaluate"])


def test_who_has_no_key_is_told_how_the_command_gets_one(capsys: pytest.CaptureFixture[str]) -> None:
    problem(Unauthorized("the API key is wrong"))
    assert capsys.readouterr().err.splitlines() == [
        "handful: the API key is wrong",
        "  (--api-key or HANDFUL_API_KEY gives this command the key)",
    ]
