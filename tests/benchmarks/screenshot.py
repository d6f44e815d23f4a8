"""The picture of the page in README: three classes drawn with the mouse, a drawing to be labelled, the report.

    python -m tests.benchmarks.screenshot service/web/screenshot.png

Starts a service and Chromium, draws as a person does, and writes what is seen down to the report, with few colours.
"""

import argparse
import base64
import io
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.by import By

from tests.browsing import chromium
from tests.running import running_service
from tests.web.page import Page, Points

WIDTH_PX, HEIGHT_PX = 1440, 900
N_COLOURS = 64
SETTLED_S = 1.0

Drawing = Sequence[Points]
STAR: Drawing = [[(round(76 * math.sin(2.513 * n)), round(-76 * math.cos(2.513 * n))) for n in range(6)]]
HOUSE: Drawing = [
    [(-55, 70), (-55, -10), (0, -65), (55, -10), (55, 70), (-55, 70)],
    [(-12, 70), (-12, 25), (14, 25), (14, 70)],
]
FISH: Drawing = [
    [(round(20 + 55 * math.cos(n / 4)), round(34 * math.sin(n / 4))) for n in range(10, 36)],
    [(-26, 18), (-72, -32), (-74, 34), (-26, -18)],
    [(44, -10), (48, -8)],
]
DRAWINGS = {"star": STAR, "house": HOUSE, "fish": FISH}


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        with chromium(own / "browser") as browser, running_service(own) as url:
            page = Page(browser, url)
            page.open()
            browser.set_window_size(WIDTH_PX, HEIGHT_PX)
            use(page)
            seen = screenshot(page)
    seen.convert("RGB").quantize(N_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {seen.width} x {seen.height} px, {file.stat().st_size // 1000} kB")


def use(page: Page) -> None:
    """Make a classifier of three kinds of drawings, and ask it about another one."""
    page.find("#task-name").send_keys("Doodles")
    page.name_class("Class 1", "star")
    page.name_class("Class 2", "house")
    page.click("#add-class")
    page.name_class("Class 3", "fish")
    for label, drawing in DRAWINGS.items():
        card = page.card(label)
        card.find_element(By.CSS_SELECTOR, ".draw").click()
        for n in range(4):
            page.draw(card.find_element(By.CSS_SELECTOR, "canvas"), by_hand(drawing, n))
            card.find_element(By.CSS_SELECTOR, ".capture .primary").click()
        card.find_element(By.XPATH, ".//button[text()='Close']").click()
    page.wait_for(lambda: set(page.classes().values()) == {"4 examples"})
    page.adapt()
    page.wait_for(lambda: page.find("#try-pad canvas").is_displayed())
    page.draw(page.find("#try-pad canvas"), by_hand(HOUSE, 7))
    page.wait_for(lambda: page.verdict() == "house")
    page.script("document.querySelector('.nearest').scrollIntoView()")  # pictures are read once they come into view
    time.sleep(SETTLED_S)


def by_hand(drawing: Drawing, n: int) -> list[Points]:
    """The drawing a little turned, moved and resized, each n in its own way."""
    turn, size, shift = 0.12 * math.sin(2.1 * n), 1 - 0.05 * (n % 4), 5 * math.cos(3.3 * n)

    def moved(x: int, y: int) -> tuple[int, int]:
        wobble = 2.5 * math.sin(0.09 * (x + 2 * y) + n)
        return (
            round(size * (x * math.cos(turn) - y * math.sin(turn)) + shift + wobble),
            round(size * (x * math.sin(turn) + y * math.cos(turn)) - shift + wobble),
        )

    return [[moved(x, y) for x, y in stroke] for stroke in drawing]


def screenshot(page: Page) -> Image.Image:
    """What is seen from the top down to the end of the three columns."""
    bottom = page.script("scrollTo(0, 0); return document.querySelector('#versions').getBoundingClientRect().top")
    clip = {
        "x": 0,
        "y": 0,
        "width": page.script("return document.documentElement.clientWidth"),
        "height": bottom,
        "scale": 1,
    }
    told = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    taken = page.browser.execute_cdp_cmd("Page.captureScreenshot", told)
    return Image.open(io.BytesIO(base64.b64decode(taken["data"])))


if __name__ == "__main__":
    main()
