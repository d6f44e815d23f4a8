"""A real browser: Debian's Chromium without a window, what it complains of and whom it asks.

Tests that need it are skipped where Debian's packages `chromium` and `chromium-driver` are not installed.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

PATIENCE_S: Final = 60
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Chrome]:
    """A browser with a fresh profile and a camera that shows a test picture; skips where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}"):
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
