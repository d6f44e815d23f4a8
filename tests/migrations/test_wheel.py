"""What is installed can migrate a database without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.persistence.migrate import schema_state

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import service
from service.persistence.migrate import migrate, scripts_folder
assert service.__file__.startswith(sys.argv[2]), service.__file__
assert str(scripts_folder()).startswith(sys.argv[2]), scripts_folder()
migrate(sys.argv[1])
"""


@pytest.mark.slow
def test_an_installed_wheel_migrates_a_database_without_the_checkout(tmp_path: Path) -> None:
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(CHECKOUT))
    wheel = next((tmp_path / "dist").glob("handful-*.whl"))
    assert "service/migrations/env.py" in zipfile.ZipFile(wheel).namelist()
    site = tmp_path / "site"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site), str(wheel))
    url = f"sqlite:///{tmp_path}/handful.db"
    run("-P", "-c", PROGRAM, url, str(site), cwd=tmp_path, path=site)
    assert schema_state(url).is_current


def run(*words: str, cwd: Path = CHECKOUT, path: Path | None = None) -> None:
    """Run Python, with `path` before everything that is installed."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
