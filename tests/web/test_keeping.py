"""What a task keeps of its pictures, and for how long, as it is said on the page at `/`."""

from datetime import datetime
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


def test_a_copy_for_another_base_model_is_kept_as_long_and_as_much_of_it(page: Page, client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}"
    said = {"metadata": {"line": "3"}, "threshold": 0.7, "store": "images", "keep_s": 604800}
    old = client.patch(address, json=said).json()
    page.open(address[-36:])
    Select(page.find("#base-model")).select_by_value("omniglot-conv4")
    page.click("#confirm-yes")
    page.wait_for(lambda: page.script("return location.hash.slice(1)") not in {"", address[-36:]})
    copy = client.get(f"/v1/tasks/{page.script('return location.hash.slice(1)')}").json()
    assert (copy["base_model"], copy["n_examples"]) == ("omniglot-conv4", 6)
    assert [copy[name] for name in ("metadata", "threshold", "store")] == [{"line": "3"}, 0.7, "images"]
    ends = [datetime.fromisoformat(each["expires_at"]) for each in (old, copy)]
    assert abs((ends[1] - ends[0]).total_seconds()) < 5


def test_a_copy_forgets_its_pictures_as_the_task_does(page: Page, client: httpx.Client) -> None:
    made = client.post("/v1/tasks", json={"base_model": "toy", "store": "features"}).json()
    files = [("files", (f"{n}.png", png(n, seed=n))) for n in range(2)]
    client.post(f"/v1/tasks/{made['id']}/examples", data={"labels": ["a", "b"]}, files=files)
    page.open(made["id"])
    Select(page.find("#base-model")).select_by_value("omniglot-conv4")
    page.wait_for(lambda: page.script("return location.hash.slice(1)") not in {"", made["id"]})
    copy = client.get(f"/v1/tasks/{page.script('return location.hash.slice(1)')}").json()
    assert (copy["base_model"], copy["store"], copy["n_examples"]) == ("omniglot-conv4", "features", 2)
