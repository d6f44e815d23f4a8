"""`handful tasks upgrade`, over two releases of a base model."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.client import Client
from service.engine.inline import InlineEngine
from tests.api.toy_service import make_settings, png, ready_client, serving
from tests.cli.conftest import Handful
from tests.engine.toy_tasks import save_toy_base_model

EXAMPLES = {"top left": [png(0, seed=1), png(0, seed=2)], "top right": [png(1, seed=3), png(1, seed=4)]}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with the first release of a base model."""
    (tmp_path / "models" / "previous").mkdir(parents=True)
    save_toy_base_model(tmp_path / "models" / "toy.safetensors")
    return tmp_path / "models"


def release_again(models: Path) -> str:
    """Another release; the one before is kept. Gives its digest."""
    shutil.move(models / "toy.safetensors", models / "previous" / "toy-1.safetensors")
    return save_toy_base_model(models / "toy.safetensors", seed=7)


@contextmanager
def service(tmp_path: Path, models: Path) -> Iterator[str]:
    """A service on the folder's base models; it has the same data each time."""
    settings = make_settings(tmp_path / "data", base_models_dir=models)
    engine = InlineEngine(
        base_model_files=sorted(models.rglob("*.safetensors")),
        artifacts_root=settings.data_dir / "artifacts",
        device="cpu",
        threads=1,
    )
    with serving(settings, engine) as url, ready_client(url):
        yield url


def test_tasks_move_to_a_newer_base_model_when_they_are_told_to(handful: Handful, tmp_path: Path, models: Path) -> None:
    with service(tmp_path, models) as url, Client(url) as client:
        task = client.create_task("corners", EXAMPLES, base_model="toy", wait_s=60)
        none_due = handful("--url", url, "tasks", "upgrade", "--json")
        before = client.predict(task, png(0, seed=9))
    digest = release_again(models)

    with service(tmp_path, models) as url, Client(url) as client:

        def run(*options: str) -> list[dict[str, object]]:
            ran = handful("--url", url, "tasks", "upgrade", "--json", *options)
            assert ran.code == 0, ran.err
            found: list[dict[str, object]] = json.loads(ran.out)
            return found

        (planned,) = run("--dry-run")
        assert len(list(client.versions(task))) == 1
        (adapted,) = run()
        unchanged = client.predict(task, png(0, seed=9))
        (active,) = run("corners", "--activate")
        after = client.version(task, client.predict(task, png(0)).version or 0)
        done = run()

    assert json.loads(none_due.out) == done == []
    assert (planned["status"], planned["task"], planned["old_version"]) == ("due", task.id, 1)
    assert (adapted["status"], adapted["new_version"]) == ("adapted", 2)
    assert unchanged == before
    assert (active["status"], active["new_version"]) == ("active", 2)
    assert (after.number, after.base_model_digest) == (2, digest)


def test_a_task_that_cannot_be_upgraded_is_told(handful: Handful, tmp_path: Path, models: Path) -> None:
    with service(tmp_path, models) as url, Client(url) as client:
        task = client.create_task("kept nothing", EXAMPLES, base_model="toy", store="nothing", wait_s=60)
    release_again(models)
    with service(tmp_path, models) as url, Client(url) as client:
        ran = handful("--url", url, "tasks", "upgrade")
        assert client.predict(task, png(0)).version == 1
    assert ran.code == 1
    assert ran.out.split("\t")[3] == "failed"
    assert "keeps nothing of its examples" in ran.err
