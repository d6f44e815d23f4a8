"""What a task keeps of its pictures, and for how long, as it is said on the page at `/`."""

from pathlib import Path

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.api.toy_service import create, png
from tests.web.page import Page


def say_what_is_kept(page: Page, name: str, option: str) -> None:
    page.script("arguments[0].closest('details').open = true", page.find(name))
    Select(page.find(name)).select_by_value(option)


def test_a_task_that_forgets_its_pictures_asks_first_and_goes_on_learning(page: Page, client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    page.open(address[-36:])
    say_what_is_kept(page, "#store", "features")
    page.click("#confirm .quiet")
    page.wait_for(lambda: page.find("#store").get_property("value") == "images")
    say_what_is_kept(page, "#store", "features")
    page.click("#confirm-yes")
    page.wait_for(lambda: client.get(address).json()["store"] == "features")
    page.reload()
    assert page.classes() == {"top left": "3 examples", "top right": "3 examples"}
    assert len(page.all(".class .thumb.is-unseen")) == 6
    page.adapt(version=2)


def test_a_task_that_keeps_nothing_answers_and_says_why_it_cannot_learn(
    page: Page, client: httpx.Client, tmp_path: Path
) -> None:
    page.open(create(client)["id"])
    say_what_is_kept(page, "#store", "nothing")
    page.click("#confirm-yes")
    page.wait_for_text("#adapt-hint", "This task keeps none of its pictures")
    assert page.classes() == {"top left": "0 examples", "top right": "0 examples"}
    (tmp_path / "new.png").write_bytes(png(1, seed=5))
    page.try_files(tmp_path / "new.png")
    page.wait_for(lambda: page.verdict() == "top right")
    assert not page.find("#adapt").is_enabled()


def test_a_task_is_kept_for_a_week_or_for_good(page: Page, client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    page.open(address[-36:])
    say_what_is_kept(page, "#keep", "604800")
    page.wait_for(lambda: page.find("#keep").find_element(By.CSS_SELECTOR, "option:checked").text.startswith("until "))
    assert client.get(address).json()["expires_at"]
    say_what_is_kept(page, "#keep", "")
    page.wait_for(lambda: client.get(address).json()["expires_at"] is None)


def test_what_is_kept_can_be_said_before_the_first_example(page: Page, client: httpx.Client) -> None:
    say_what_is_kept(page, "#store", "features")
    page.wait_for(lambda: page.script("return location.hash.length") > 1)
    task = page.script("return location.hash.slice(1)")
    page.wait_for(lambda: client.get(f"/v1/tasks/{task}").json()["store"] == "features")
