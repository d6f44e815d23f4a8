"""The page at `/` in a real browser: from nothing to a right answer, in every way that pictures come."""

import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.api.toy_service import create, field, png
from tests.web.page import CROSS, SQUARE, Page, value

CAMERA_PRESS_S = 0.7


def picture(folder: Path, colour: str, n: int) -> Path:
    """A colourful photograph of nothing: a shade of red or blue, with noise."""
    random = np.random.default_rng(n)
    pixels = random.integers(0, 90, (96, 128, 3))
    pixels[..., {"red": 0, "blue": 2}[colour]] += 150
    path = folder / f"{colour}-{n}.jpg"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def quarter(folder: Path, index: int, n: int) -> Path:
    """A picture of a class of the toy base model."""
    path = folder / f"quarter-{index}-{n}.png"
    path.write_bytes(png(index, seed=100 + n))
    return path


def zipped(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def statuses(page: Page) -> set[str]:
    """The refusals that the browser itself writes into its console."""
    return {line.rpartition("status of ")[2] for line in page.complaints()}


def choose_in_menu(page: Page, label: str, selector: str) -> None:
    page.card(label).find_element(By.CSS_SELECTOR, ".menu summary").click()
    page.card(label).find_element(By.CSS_SELECTOR, selector).click()


def test_two_symbols_drawn_three_times_each_are_told_apart(page: Page) -> None:
    page.name_class("Class 1", "cross")
    page.name_class("Class 2", "square")
    for label, strokes in (("cross", CROSS), ("square", SQUARE)):
        card = page.card(label)
        card.find_element(By.CSS_SELECTOR, ".draw").click()
        for shift in (-10, 0, 10):
            page.draw(card.find_element(By.CSS_SELECTOR, "canvas"), strokes, shift=shift)
            card.find_element(By.CSS_SELECTOR, ".capture .primary").click()
    page.wait_for(lambda: page.classes() == {"cross": "3 examples", "square": "3 examples"})

    page.adapt()
    page.wait_for(lambda: page.find("#try-pad canvas").is_displayed())
    page.draw(page.find("#try-pad canvas"), SQUARE, shift=5)
    page.wait_for(lambda: page.verdict() == "square")
    page.click("#try-pad .pad-tools button:last-child")
    page.wait_for(lambda: not page.find("#answer").is_displayed())
    page.draw(page.find("#try-pad canvas"), CROSS, shift=5)
    page.wait_for(lambda: page.verdict() == "cross")

    assert "ms" in page.text("#adapt-message") or " s" in page.text("#adapt-message")
    assert page.text(".bar.is-top").startswith("cross")
    assert page.text(".nearest li span") == "cross"
    assert "omniglot-conv4" in page.text("#report-body")


def test_photographs_dropped_on_classes_and_on_the_answer_are_labelled(page: Page, tmp_path: Path) -> None:
    for old, colour in (("Class 1", "red"), ("Class 2", "blue")):
        page.name_class(old, colour)
        page.drop(page.card(colour), *(picture(tmp_path, colour, n) for n in range(2)))
    page.wait_for(lambda: page.classes() == {"red": "2 examples", "blue": "2 examples"})
    assert not page.all(".is-over")
    page.adapt()
    page.drop(page.find("#try"), picture(tmp_path, "blue", 7), picture(tmp_path, "red", 8))
    page.wait_for(lambda: len(page.all("#results li")) == 2)
    assert page.verdict() == "blue"
    assert page.texts(".result-label") == ["blue", "red"]
    assert page.find("#try-picture").is_displayed()
    assert "photo" in page.text("#report-body")


def test_a_zip_of_folders_makes_the_classes(page: Page, tmp_path: Path) -> None:
    files = {f"all/{label}/{n}.png": png(label == "right", seed=n) for label in ("left", "right") for n in range(2)}
    files |= {"all/.DS_Store": b"x", "__MACOSX/all/left/0.png": b"x", "read me.txt": b"hello"}
    page.find("#choose-zip").send_keys(str(zipped(tmp_path, files)))
    page.wait_for(lambda: page.classes() == {"left": "2 examples", "right": "2 examples"})
    assert "read me.txt: is in no folder" in page.text("#folders-message")


def test_a_bad_file_among_good_ones_is_named_and_the_others_are_kept(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("no picture at all")
    page.choose_files("Class 1", quarter(tmp_path, 0, 1), bad, quarter(tmp_path, 0, 2))
    page.wait_for(lambda: page.classes()["Class 1"] == "2 examples")
    card = page.card("Class 1")
    assert "notes.jpg" in card.find_element(By.CSS_SELECTOR, ".message").text
    assert "The others were kept" in card.find_element(By.CSS_SELECTOR, ".message").text
    assert statuses(page) == {"415 (Unsupported Media Type)"}


def test_a_reload_keeps_names_examples_and_versions(page: Page, tmp_path: Path) -> None:
    page.name_class("Class 1", "only a name")
    page.reload()
    assert page.classes() == {"only a name": "0 examples", "Class 2": "0 examples"}
    page.choose_files("Class 2", quarter(tmp_path, 1, 1))
    page.wait_for(lambda: page.classes()["Class 2"] == "1 example")
    page.reload()
    assert page.classes() == {"only a name": "0 examples", "Class 2": "1 example"}
    page.choose_files("only a name", quarter(tmp_path, 0, 1))
    page.wait_for(lambda: page.find("#adapt").is_enabled())
    page.adapt()
    page.reload()
    assert page.classes() == {"only a name": "1 example", "Class 2": "1 example"}
    assert page.text("#versions-table tbody th") == "1"
    assert page.find("#try-body").is_displayed()


def test_the_camera_takes_pictures_while_pressed_and_shows_answers_live(page: Page, tmp_path: Path) -> None:
    page.choose_files("Class 2", picture(tmp_path, "red", 1))
    card = page.card("Class 1")
    card.find_element(By.CSS_SELECTOR, ".webcam").click()
    hold = card.find_element(By.CSS_SELECTOR, ".capture .primary")
    page.wait_for(hold.is_enabled)
    page.script("arguments[0].scrollIntoView({ block: 'center' })", hold)
    ActionChains(page.browser).click_and_hold(hold).pause(CAMERA_PRESS_S).release().perform()
    page.wait_for(lambda: page.classes()["Class 1"].endswith("examples") and "+" not in page.classes()["Class 1"])
    assert len(card.find_elements(By.CSS_SELECTOR, ".thumbs li")) >= 2
    page.adapt()
    page.click("[data-way=camera]")
    page.wait_for(lambda: page.find("#answer").is_displayed() and page.verdict() == "Class 1")
    page.click("[data-way=files]")


def test_the_camera_takes_pictures_without_a_hand_on_the_button(page: Page) -> None:
    page.card("Class 2").find_element(By.CSS_SELECTOR, ".webcam").click()
    start = page.card("Class 2").find_element(By.XPATH, ".//button[text()='Hands free']")
    page.wait_for(start.is_enabled)
    start.click()
    assert start.text.startswith("In 3 s")
    page.wait_for(lambda: len(page.all(".thumbs li")) >= 2)
    page.card("Class 2").find_element(By.XPATH, ".//button[text()='Close']").click()
    page.wait_for(lambda: "+" not in page.classes()["Class 2"])


def test_what_it_really_was_becomes_an_example_and_a_version(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    task = create(client)
    page.open(task["id"])
    page.try_files(quarter(tmp_path, 1, 3))
    page.wait_for(lambda: page.find("#answer").is_displayed())
    page.find(".correction select").send_keys("top left")
    page.click(".correction button")
    page.wait_for_text("#corrected", "Added as an example of top left")
    assert page.classes() == {"top left": "4 examples", "top right": "3 examples"}
    page.adapt(version=2)
    assert page.texts("#versions-table tbody th") == ["2", "1"]
    page.script("document.querySelector('#versions-table tbody button').click()")
    page.wait_for(lambda: page.texts("#versions-table tr.is-current th") == ["1"])
    assert client.get(f"/v1/tasks/{task['id']}").json()["current_version"] == 1


def test_versions_are_compared_on_the_picture_that_was_tried(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    task = create(client)
    client.post(f"/v1/tasks/{task['id']}/adapt", json={"learner": "protonet"})
    page.open(task["id"])
    page.try_files(quarter(tmp_path, 1, 3))
    page.wait_for(lambda: page.find("#compare").is_displayed())
    page.click("#compare")
    page.wait_for_text("#versions-table thead", "Says of the picture")
    assert ["top right" in row for row in page.texts("#versions-table tbody tr")] == [True, True]


def test_a_class_of_a_ready_task_is_renamed_added_and_removed(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    task = create(client)
    page.open(task["id"])
    page.name_class("top right", "north east")
    page.wait_for(lambda: page.classes() == {"top left": "3 examples", "north east": "3 examples"})
    page.click("#add-class")
    page.choose_files("Class 3", quarter(tmp_path, 2, 1))
    page.wait_for(lambda: page.classes().get("Class 3") == "1 example")
    choose_in_menu(page, "top left", ".remove-class")
    page.click("#confirm-yes")
    page.wait_for(lambda: page.classes() == {"north east": "3 examples", "Class 3": "1 example"})
    page.adapt(version=2)
    classes = client.get(f"/v1/tasks/{task['id']}").json()["classes"]
    assert {each["label"]: each["n_examples"] for each in classes} == {"north east": 3, "Class 3": 1}


def test_tasks_are_listed_opened_renamed_and_deleted(page: Page, client: httpx.Client) -> None:
    first, second = create(client), create(client)
    client.patch(f"/v1/tasks/{first['id']}", json={"name": "the first"})
    client.patch(f"/v1/tasks/{second['id']}", json={"name": "the second"})
    page.click("#open-tasks")
    page.wait_for(lambda: page.all("[aria-label='Rename the first']"))
    page.click("[aria-label='Rename the first']")
    page.find(".task input").send_keys(Keys.CONTROL + "a" + Keys.NULL, "another name", Keys.ENTER)
    page.wait_for(lambda: page.all("[aria-label='Rename another name']"))
    page.click("[aria-label='Delete the second']")
    page.click("#confirm-yes")
    page.wait_for(lambda: not page.all("[aria-label='Delete the second']"))
    next(title for title in page.all(".task-open") if "another name" in title.text).click()
    page.wait_for(lambda: value(page.find("header"), "#task-name") == "another name")
    assert client.get(f"/v1/tasks/{second['id']}").status_code == 404
    assert page.classes() == {"top left": "3 examples", "top right": "3 examples"}


def test_a_folder_of_pictures_kept_back_tells_how_good_it_is(page: Page, client: httpx.Client, tmp_path: Path) -> None:
    page.open(create(client)["id"])
    files = {
        f"{label}/{n}.png": png(index, seed=n) for index, label in enumerate(("top left", "top right")) for n in (7, 8)
    }
    page.find("#evaluate-zip").send_keys(str(zipped(tmp_path, files | {"top left/bad.png": b"x"})))
    page.wait_for(lambda: page.all("#evaluation .matrix"))
    assert "Right, of 4 pictures" in page.text("#evaluation")
    assert "100 %" in page.text("#evaluation .figure-share")
    assert "bad.png" in page.text("#evaluate-message")
    assert statuses(page) == {"415 (Unsupported Media Type)"}


@pytest.mark.parametrize("address", ["00000000-0000-7000-8000-000000000000", "nonsense"])
def test_an_address_of_no_task_is_told_and_leaves_a_fresh_page(page: Page, address: str) -> None:
    page.open(address)
    assert "task" in page.text("#page-message")
    assert page.classes() == {"Class 1": "0 examples", "Class 2": "0 examples"}
    assert statuses(page) <= {"404 (Not Found)"}


def test_a_renamed_class_keeps_the_groups_of_its_examples(page: Page, client: httpx.Client) -> None:
    task = create(client, *(field("groups", f"burst {n // 2}") for n in range(6)))
    page.open(task["id"])
    page.name_class("top right", "north east")
    page.wait_for(lambda: page.text("#adapt-hint") == "Examples changed since the last version.")
    examples = client.get(f"/v1/tasks/{task['id']}/examples").json()["items"]
    assert [(each["label"], each["group"]) for each in examples[3:]] == [
        ("north east", "burst 1"),
        ("north east", "burst 2"),
        ("north east", "burst 2"),
    ]


def test_a_class_is_left_out_of_the_next_version_and_taken_in_again(page: Page, client: httpx.Client) -> None:
    page.open(create(client, n_way=3)["id"])
    choose_in_menu(page, "top right", ".leave-out")
    page.wait_for(lambda: page.text("#adapt") == "Adapt to 6 examples")
    page.reload()
    assert page.texts(".is-left-out .left-out") == ["left out"]
    page.adapt(version=2)
    assert "top right" not in page.text("#report-body")
    choose_in_menu(page, "top right", ".leave-out")
    page.wait_for(lambda: page.text("#adapt") == "Adapt to 9 examples" and not page.all(".is-left-out"))
    page.adapt(version=3)
    assert "top right" in page.text("#report-body")
