"""A service with the base models that are shipped and a toy, and one browser, for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Chrome

from service.engine.inline import InlineEngine
from service.usecases.base_models import SHIPPED
from tests.api.toy_service import make_settings, ready_client, serving
from tests.browsing import chromium
from tests.engine.toy_tasks import save_toy_base_model
from tests.web.page import INSECURE_HOST, Page


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(
        tmp_path_factory.mktemp("browser"), f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1"
    ) as browser:
        yield browser


@pytest.fixture(scope="session")
def client(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the service that the page is looked at on; not started where there is no browser."""
    models: Path = tmp_path_factory.mktemp("models")
    save_toy_base_model(models / "toy.safetensors")
    settings = make_settings(tmp_path_factory.mktemp("data"), base_models_dir=models)
    engine = InlineEngine(
        base_model_files=[models / "toy.safetensors", *sorted(SHIPPED.glob("*.safetensors"))],
        artifacts_root=settings.data_dir / "artifacts",
        device="cpu",
        threads=1,
    )
    with serving(settings, engine) as url, ready_client(url) as client:
        yield client


@pytest.fixture
def page(client: httpx.Client, browser: Chrome) -> Iterator[Page]:
    """The page without any task; at the end nothing may have been complained of, and nobody else asked."""
    page = Page(browser, str(client.base_url))
    page.forget()
    page.open()
    yield page
    page.close()
    assert page.complaints() == []
    assert page.hosts() <= {client.base_url.netloc.decode()}
