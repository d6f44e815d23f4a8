"""Who can use the page at `/`: with the keyboard, a screen reader, a phone, a key, and without a secure address."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from service.artifacts import FileArtifacts
from tests.api.toy_service import create, make_settings, serving
from tests.fakes import FakeEngine
from tests.web.page import INSECURE_HOST, Page

THEME = (Path(__file__).resolve().parents[2] / "service" / "web" / "theme.css").read_text()
CONTROLS = "button, input, select, textarea, a[href], summary, canvas, [tabindex='0'], video"
TEXT_ON_GROUND = [
    ("text", "ground"),
    ("text", "surface"),
    ("soft", "ground"),
    ("soft", "surface"),
    ("soft", "sunken"),
    ("accent", "surface"),
    ("accent", "ground"),
    ("on-accent", "accent"),
    ("accent-strong", "accent-weak"),
    ("text", "accent-weak"),
    ("problem", "problem-weak"),
    ("text", "warn-weak"),
    ("warn", "surface"),
]


def press(page: Page, *keys: str) -> None:
    ActionChains(page.browser, duration=10).send_keys(*keys).perform()


def draw_with_keys(page: Page, *moves: tuple[str, int]) -> None:
    actions = ActionChains(page.browser, duration=10).key_down(Keys.SHIFT)
    for key, times in moves:
        actions.send_keys(key * times)
    actions.key_up(Keys.SHIFT).send_keys(Keys.ENTER).perform()


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the first element of this kind has the focus."""
    for _ in range(60):
        if page.script("return document.activeElement === document.querySelector(arguments[0])", selector):
            return
        press(page, Keys.TAB)
    pytest.fail(f"Tab does not lead to {selector}")


def test_the_keyboard_alone_makes_and_tries_a_classifier(page: Page) -> None:
    page.script("document.body.focus()")
    for number, move in (("1", Keys.ARROW_RIGHT), ("2", Keys.ARROW_DOWN)):
        card = f".class:nth-of-type({number})"
        tab_to(page, f"{card} .class-name")
        press(page, "across" if number == "1" else "down")  # what is there is selected
        tab_to(page, f"{card} .draw")
        press(page, Keys.ENTER)
        page.wait_for(lambda: page.all(".class canvas"))
        tab_to(page, f"{card} canvas")
        draw_with_keys(page, (move, 9))
    page.wait_for(lambda: page.classes() == {"across": "1 example", "down": "1 example"})
    tab_to(page, "#adapt")
    press(page, Keys.ENTER)
    page.wait_for_text("#adapt-message", "is ready")
    tab_to(page, "#try-pad canvas")
    draw_with_keys(page, (Keys.ARROW_DOWN, 8))
    page.wait_for(lambda: page.find("#answer").is_displayed() and page.verdict() == "down")
    assert "down" in page.script("return document.getElementById('announcer').textContent")


def test_every_control_has_a_name_and_every_picture_a_text(page: Page, client: httpx.Client) -> None:
    page.open(create(client)["id"])
    page.click(".class .draw")
    page.click("#code summary")
    nameless = [
        element.get_attribute("outerHTML")
        for element in page.all(CONTROLS)
        if element.is_displayed() and not element.accessible_name
    ]
    assert nameless == []
    assert page.all("img:not([alt])") == []
    assert len(page.all("h1")) == 1
    assert [len(page.all(landmark)) for landmark in ("main", "header", "nav[aria-label]")] == [1, 1, 1]
    assert page.script("return document.documentElement.lang") == "en"
    assert (
        page.script(
            "const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); return ids.length - new Set(ids).size"
        )
        == 0
    )
    assert [section.accessible_name.strip() for section in page.all("main > section") if section.is_displayed()] == [
        "Examples", "Try it", "How good is it?", "Versions", "The same from a terminal or a program",
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("pair", TEXT_ON_GROUND, ids=" on ".join)
def test_text_stands_out_from_its_ground(scheme: str, pair: tuple[str, str]) -> None:
    light, dark = THEME.split("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark if scheme == "dark" else light))
    brighter, darker = sorted((luminance(colours[name]) for name in pair), reverse=True)
    assert (brighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture
def phone(page: Page) -> Iterator[Page]:
    """The page on a phone."""
    told = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)
    yield page
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("with_task", [False, True])
def test_a_phone_of_360_px_shows_it_without_scrolling_sideways(
    phone: Page, client: httpx.Client, *, with_task: bool
) -> None:
    phone.browser.get(f"{phone.url}/#{create(client)['id'] if with_task else ''}")
    phone.reload()
    phone.click(".class .draw")
    phone.script("for (const each of document.querySelectorAll('main details:not(.menu)')) each.open = true")
    assert phone.script("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    widths = phone.script("return Array.from(document.querySelectorAll('.adapt select'), (each) => each.offsetWidth)")
    assert min(widths) >= 140  # so that what is chosen can be read


def test_a_phone_shows_where_to_try_it_once_it_is_adapted(phone: Page, client: httpx.Client) -> None:
    phone.browser.get(f"{phone.url}/#{create(client)['id']}")
    phone.reload()
    phone.adapt(version=2)
    phone.wait_for(lambda: 0 <= phone.script("return document.querySelector('#try').getBoundingClientRect().top") < 740)


def test_the_key_is_asked_for_and_the_camera_tells_what_it_needs(tmp_path: Path, browser: Chrome) -> None:
    settings = make_settings(tmp_path, api_key="a-long-random-key")
    with serving(settings, FakeEngine(FileArtifacts(tmp_path / "artifacts"))) as url:
        page = Page(browser, url.replace("127.0.0.1", INSECURE_HOST))
        browser.get(page.url)
        page.wait_for(lambda: page.find("#key-text").is_displayed())
        page.find("#key-text").send_keys("wrong", Keys.ENTER)
        page.wait_for_text("#key-problem", "This is not the key.")
        page.find("#key-text").send_keys("a-long-random-key", Keys.ENTER)
        page.wait_until_shown()
        page.card("Class 1").find_element(By.CSS_SELECTOR, ".webcam").click()
        page.wait_for_text(".capture .message", "Open http://localhost")
        assert page.script("return Object.values(localStorage).concat(document.cookie).join()").count("random") == 0
        assert "HANDFUL_API_KEY" in page.find("#snippets").get_attribute("textContent")  # type: ignore[operator]
        page.close()
        assert {line.rpartition("status of ")[2] for line in page.complaints()} == {"401 (Unauthorized)"}
        assert page.hosts() == {page.url.removeprefix("http://")}
