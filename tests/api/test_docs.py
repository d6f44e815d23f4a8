"""The documentation in a real browser: it shows every operation, complains of nothing and asks nobody else.

Skipped where Debian's packages `chromium` and `chromium-driver` are not installed.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from service.artifacts import FileArtifacts
from tests.api.toy_service import make_settings, serving
from tests.browsing import PATIENCE_S, chromium, complaints, hosts
from tests.fakes import FakeEngine


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def n_operations(browser: Chrome) -> int:
    return len(browser.find_elements(By.CLASS_NAME, "opblock"))


def test_the_documentation_shows_every_operation(client: httpx.Client, browser: Chrome) -> None:
    document = client.get("/openapi.json").json()
    expected = sum(len(methods) for methods in document["paths"].values())

    browser.get(str(client.base_url.join("/docs")))
    WebDriverWait(browser, PATIENCE_S).until(lambda _: n_operations(browser) == expected)
    browser.find_element(By.CSS_SELECTOR, "#operations-tasks-create_task button").click()
    WebDriverWait(browser, PATIENCE_S).until(
        lambda _: browser.find_elements(By.CLASS_NAME, "opblock-section-request-body")
    )

    assert "Handful" in browser.find_element(By.CLASS_NAME, "title").text
    assert complaints(browser) == []
    assert hosts(browser) == {client.base_url.netloc.decode()}


def test_the_page_at_the_root_leads_to_the_documentation(client: httpx.Client, browser: Chrome) -> None:
    browser.get(str(client.base_url))
    browser.find_element(By.CSS_SELECTOR, "a[href='/docs']").click()
    WebDriverWait(browser, PATIENCE_S).until(lambda _: n_operations(browser) > 0)
    assert complaints(browser) == []
    assert hosts(browser) == {client.base_url.netloc.decode()}


def test_the_documentation_asks_for_the_key_where_one_is_needed(tmp_path: Path, browser: Chrome) -> None:
    settings = make_settings(tmp_path, api_key="a-long-random-key")
    with serving(settings, FakeEngine(FileArtifacts(tmp_path / "artifacts"))) as url:
        browser.get(f"{url}/docs")
        field = browser.find_element(By.ID, "key-text")
        WebDriverWait(browser, PATIENCE_S).until(lambda _: field.is_displayed())
        field.send_keys("wrong" + Keys.ENTER)
        problem = browser.find_element(By.ID, "key-problem")
        WebDriverWait(browser, PATIENCE_S).until(lambda _: problem.text == "This is not the key.")
        field.clear()
        field.send_keys("a-long-random-key" + Keys.ENTER)
        WebDriverWait(browser, PATIENCE_S).until(lambda _: n_operations(browser) > 0)
        assert not field.is_displayed()
        assert {line.rpartition("status of ")[2] for line in complaints(browser)} == {"401 (Unauthorized)"}
