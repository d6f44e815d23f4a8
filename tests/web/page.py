"""The page at `/` as a person uses it: what is on it, and what can be done with it."""

import base64
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.browsing import PATIENCE_S, complaints, hosts

INSECURE_HOST: Final = "handful.test"
WIDTH_PX, HEIGHT_PX = 1300, 1000
Points: TypeAlias = Sequence[tuple[int, int]]
CROSS: Final[list[Points]] = [[(-70, -70), (70, 70)], [(70, -70), (-70, 70)]]
SQUARE: Final[list[Points]] = [[(-70, -70), (70, -70), (70, 70), (-70, 70), (-70, -70)]]

_DROP: Final = """
const [target, files] = arguments;
const dropped = new DataTransfer();
for (const [name, data] of files) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  dropped.items.add(new File([bytes], name));
}
for (const kind of ["dragenter", "dragover", "drop"]) {
  target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: dropped }));
}
"""


class Page:
    """One page in a browser."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        self.url = url

    # Coming and going

    def open(self, task: str = "") -> None:
        """Load the page, with a task if one is named."""
        self.browser.get("about:blank")
        self.browser.set_window_size(WIDTH_PX, HEIGHT_PX)
        self.browser.get(f"{self.url}/#{task}" if task else self.url)
        self.wait_until_shown()

    def wait_until_shown(self) -> None:
        self.wait_for(lambda: self.browser.find_elements(By.CSS_SELECTOR, "body.is-ready"))

    def reload(self) -> None:
        self.browser.refresh()
        self.wait_until_shown()

    def close(self) -> None:
        self.browser.get("about:blank")

    def forget(self) -> None:
        """Take away what the browser keeps of earlier tests."""
        self.browser.get(f"{self.url}/livez")
        self.browser.execute_script("localStorage.clear()")

    def complaints(self) -> list[str]:
        return complaints(self.browser)

    def hosts(self) -> set[str]:
        return hosts(self.browser)

    # Looking

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What is seen of the first such element; read at once, for it may be replaced at any time."""
        return "\n".join(self.texts(selector)[:1])

    def texts(self, selector: str) -> list[str]:
        texts: list[str] = self.script(
            "return Array.from(document.querySelectorAll(arguments[0]), (each) => each.innerText)", selector
        )
        return texts

    def script(self, code: str, *arguments: object) -> Any:  # noqa: ANN401  # JSON
        return self.browser.execute_script(code, *arguments)

    def wait_for(self, is_so: Callable[[], object]) -> None:
        """Return once it is so; fail when that takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, f"waited too long; the page says: {self.text('body')[:2000]}"
            time.sleep(0.03)

    def wait_for_text(self, selector: str, expected: str) -> None:
        self.wait_for(lambda: expected in self.text(selector))

    def classes(self) -> dict[str, str]:
        """What stands beside the name of each class."""
        classes: dict[str, str] = self.script(
            "return Object.fromEntries(Array.from(document.querySelectorAll('.class'), (card) =>"
            " [card.querySelector('.class-name').value, card.querySelector('.class-count').innerText]))"
        )
        return classes

    def verdict(self) -> str:
        return self.text(".verdict")

    # Doing

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def card(self, label: str) -> WebElement:
        return next(card for card in self.all(".class") if value(card, ".class-name") == label)

    def name_class(self, old: str, new: str) -> None:
        field = self.card(old).find_element(By.CSS_SELECTOR, ".class-name")
        field.send_keys(Keys.CONTROL + "a" + Keys.NULL, new, Keys.ENTER)
        self.wait_for(lambda: new in self.classes())

    def choose_files(self, label: str, *paths: Path) -> None:
        self.card(label).find_element(By.CSS_SELECTOR, ".files").send_keys("\n".join(map(str, paths)))

    def drop(self, target: WebElement, *paths: Path) -> None:
        files = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
        self.script(_DROP, target, files)

    def draw(self, canvas: WebElement, strokes: Sequence[Points], *, shift: int = 0) -> None:
        """Draw with the mouse; points are offsets from the middle of the canvas."""
        self.script("arguments[0].scrollIntoView({ block: 'center' })", canvas)
        actions = ActionChains(self.browser, duration=10)
        for (x, y), *points in strokes:
            actions.move_to_element_with_offset(canvas, x + shift, y).click_and_hold()
            for x_next, y_next in points:
                actions.move_to_element_with_offset(canvas, x_next + shift, y_next)
            actions.release()
        actions.perform()

    def adapt(self, version: int = 1) -> None:
        self.click("#adapt")
        self.wait_for_text("#adapt-message", f"Version {version} is ready")

    def try_files(self, *paths: Path) -> None:
        self.find("#try-files").send_keys("\n".join(map(str, paths)))


def value(parent: WebElement, selector: str) -> str:
    """What stands in a field."""
    return str(parent.find_element(By.CSS_SELECTOR, selector).get_property("value"))
