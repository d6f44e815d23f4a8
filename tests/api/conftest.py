"""A service in a thread on real HTTP, with the toy base model, the one for drawings, and the worker in a thread."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.engine.inline import InlineEngine
from service.usecases.base_models import SHIPPED
from tests.api.toy_service import make_settings, ready_client, serving
from tests.engine.toy_tasks import save_toy_base_model


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy base model."""
    folder = tmp_path_factory.mktemp("models")
    save_toy_base_model(folder / "toy.safetensors")
    return folder


@pytest.fixture(scope="session")
def client(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service that the tests of this folder share."""
    settings = make_settings(tmp_path_factory.mktemp("data"), base_models_dir=toy_folder)
    engine = InlineEngine(
        base_model_files=[toy_folder / "toy.safetensors", SHIPPED / "omniglot-conv4.safetensors"],
        artifacts_root=settings.data_dir / "artifacts",
        device="cpu",
        threads=1,
    )
    with serving(settings, engine) as url, ready_client(url) as client:
        yield client
