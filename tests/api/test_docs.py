"""The documentation in a real browser: it shows every operation, complains of nothing and asks nobody else.

Skipped where Debian's packages `chromium` and `chromium-driver` are not installed.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from service.artifacts import FileArtifacts
from tests.api.toy_service import make_settings, serving
from tests.fakes import FakeEngine

PATIENCE_S = 30
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options=options, service=ChromeService(driver)) as browser:
        browser.set_page_load_timeout(PATIENCE_S)
        yield browser


def complaints(browser: Chrome) -> list[str]:
    """What the console says since it was last asked."""
    entries: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's gap
    return [entry["message"] for entry in entries]


def hosts(browser: Chrome) -> set[str]:
    """Whom the page asked since this was last asked."""
    entries: list[dict[str, Any]] = browser.get_log("performance")  # type: ignore[no-untyped-call]  # selenium's gap
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    addresses = [urlsplit(each["request"]["url"]) for each in sent]
    return {address.netloc for address in addresses if address.scheme not in {"data", "blob", "chrome"}}


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
