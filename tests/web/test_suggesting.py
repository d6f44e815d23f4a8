"""The page at `/` with many pictures that have no class: which to label first, and a click that labels one."""

import re
from pathlib import Path

import httpx
from selenium.webdriver.common.by import By

from tests.api.toy_service import create, png
from tests.web.page import Page

QUARTERS = ("top left", "top right")


def pool(folder: Path, n: int) -> list[Path]:
    """Pictures of two kinds by turns."""
    paths = [folder / f"{QUARTERS[index % 2]} {index}.png" for index in range(n)]
    for index, path in enumerate(paths):
        path.write_bytes(png(index % 2, seed=50 + index))
    return paths


def suggest(page: Page, *paths: Path) -> None:
    page.click("#suggest summary")
    page.find("#suggest-files").send_keys("\n".join(map(str, paths)))
    page.wait_for(lambda: page.all("#suggestions li"))


def label_the_first(page: Page) -> None:
    """Click on the class that the first suggested picture is of."""
    first = page.find("#suggestions li")
    name = str(first.find_element(By.TAG_NAME, "img").get_attribute("alt"))
    label = name.rpartition(" ")[0]
    next(each for each in first.find_elements(By.TAG_NAME, "button") if each.text == label).click()
    page.wait_for(lambda: name not in page.script("return document.querySelector('#suggestions').innerHTML"))


def test_pictures_are_suggested_before_there_is_any_example(page: Page, tmp_path: Path) -> None:
    page.name_class("Class 1", "top left")
    page.name_class("Class 2", "top right")
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    suggest(page, *pool(tmp_path, 6), bad)
    assert "notes.png" in page.text("#suggest-message")
    assert page.complaints() == []
    for _ in range(6):
        label_the_first(page)
    page.wait_for(lambda: page.classes() == {"top left": "3 examples", "top right": "3 examples"})
    page.wait_for_text("#suggest-message", "Every picture has a class.")
    page.adapt()


def test_it_is_told_how_far_the_service_is(page: Page, tmp_path: Path) -> None:
    page.script(
        "window.told = []; const place = document.querySelector('#suggest-message');"
        "new MutationObserver(() => told.push(place.textContent)).observe(place, {childList: true, subtree: true})"
    )
    suggest(page, *pool(tmp_path, 40))
    told = page.script("return window.told")
    assert any(re.fullmatch(r"(Reading|Looking at) 40 pictures: \d+ …", line) for line in told), told


def test_what_was_labelled_is_not_suggested_again(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    page.open(create(client)["id"])
    suggest(page, *pool(tmp_path, 14))
    assert len(page.all("#suggestions li")) == 12
    label_the_first(page)
    page.wait_for(lambda: sorted(page.classes().values()) == ["3 examples", "4 examples"])
    page.click("#suggest-again")
    page.wait_for(lambda: len(page.all("#suggestions li")) == 12)
    assert len(page.texts("#suggestions p")) == 12
