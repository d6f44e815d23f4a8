"""The examples of a task over HTTP."""

from uuid import uuid4

import httpx
import pytest

from tests.api.test_events import events
from tests.api.toy_service import Parts, create, field, png, support

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def address(client: httpx.Client) -> str:
    return f"/v1/tasks/{create(client)['id']}/examples"


def test_added_examples_are_answered_and_listed_oldest_first(client: httpx.Client, address: str) -> None:
    parts: Parts = [("files", ("new.png", png(2))), field("labels", " bottom left ")]
    response = client.post(address, files=parts)
    assert response.status_code == 201
    (added,) = response.json()["items"]
    assert (added["label"], added["filename"], added["media_type"]) == ("bottom left", "new.png", "image/png")
    assert (added["width_px"], added["height_px"], added["size_bytes"]) == (8, 8, len(png(2)))
    listed = client.get(address).json()["items"]
    assert len(listed) == 7
    assert listed[-1] == added


def test_a_task_answers_as_before_until_it_is_adapted_again(client: httpx.Client, address: str) -> None:
    client.post(address, files=[("files", ("new.png", png(2))), field("labels", "bottom left")])
    task = client.get(address.removesuffix("/examples")).json()
    assert (task["n_examples"], task["current_version"], len(task["classes"])) == (7, 1, 3)


def test_a_list_of_examples_goes_on_at_its_cursor(client: httpx.Client, address: str) -> None:
    first = client.get(address, params={"limit": 4}).json()
    second = client.get(address, params={"limit": 4, "cursor": first["next_cursor"]}).json()
    assert (len(first["items"]), len(second["items"]), second["next_cursor"]) == (4, 2, None)


def test_the_original_bytes_come_back_harmless(client: httpx.Client, address: str) -> None:
    example = client.get(address).json()["items"][0]
    response = client.get(f"{address}/{example['id']}")
    assert response.content == png(0, seed=0)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"] == f'inline; filename="{example["id"]}.png"'
    assert "sandbox" in response.headers["content-security-policy"]


def test_a_removed_example_is_gone(client: httpx.Client, address: str) -> None:
    example = f"{address}/{client.get(address).json()['items'][0]['id']}"
    assert client.delete(example).status_code == 204
    for response in (client.get(example), client.delete(example)):
        assert (response.status_code, response.json()["type"]) == (404, "/problems/example-not-found")


def test_a_bad_image_among_good_ones_is_named_and_nothing_is_stored(client: httpx.Client, address: str) -> None:
    parts: Parts = [("files", ("ok.png", png(0))), ("files", ("cut.png", png(0)[:50])), ("files", ("", b""))]
    parts[2] = ("files", ("none.png", b""))
    response = client.post(address, files=[*parts, *[field("labels", "x")] * 3])
    assert (response.status_code, response.json()["type"]) == (422, "/problems/upload-rejected")
    assert [(error["pointer"], error["code"], error["filename"]) for error in response.json()["errors"]] == [
        ("/files/1", "damaged-image", "cut.png"),
        ("/files/2", "empty-file", "none.png"),
    ]
    assert len(client.get(address).json()["items"]) == 6


@pytest.mark.parametrize("label", ["", " \t ", "x" * 201, "a\nb"])
def test_a_label_that_cannot_be_used_is_named(client: httpx.Client, address: str, label: str) -> None:
    response = client.post(address, files=[("files", ("a.png", png(0))), field("labels", label)])
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/files/0")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([field("labels", "x")], 422),
        ([*support(), field("name", "not here")], 422),
        ([("files", (None, b"a field"))], 422),
        ([("archive", ("a.zip", b"no zip"))], 422),
    ],
)
def test_a_form_that_cannot_be_right_is_told(client: httpx.Client, address: str, parts: Parts, status: int) -> None:
    response = client.post(address, files=parts)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_a_form_without_images_is_told(client: httpx.Client, address: str) -> None:
    body = b"--X--\r\n"
    response = client.post(address, content=body, headers={"Content-Type": "multipart/form-data; boundary=X"})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/files")


def test_json_is_no_form(client: httpx.Client, address: str) -> None:
    assert client.post(address, json={}).status_code == 415


def test_examples_of_a_task_that_is_not_there_are_not_found(client: httpx.Client) -> None:
    address = f"/v1/tasks/{uuid4()}/examples"
    answers = [client.get(address), client.post(address, files=support()), client.get(f"{address}/{uuid4()}")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]


@pytest.mark.parametrize("example", ["1", "..%2f..%2fetc%2fpasswd", "%00"])
def test_an_id_that_names_no_example_is_not_found(client: httpx.Client, address: str, example: str) -> None:
    response = client.get(f"{address}/{example}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_images_to_rank_are_answered_as_a_stream_to_those_who_ask_for_one(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}/suggest"
    images = [("files", (f"{seed}.png", png(seed % 2, seed=seed))) for seed in range(6)]
    told = events(client.post(address, files=images, headers=STREAM))
    assert {each["event"] for each in told[:-1]} <= {"progress"}
    last = told[-1]
    assert (last["event"], last["id"], last["data"]) == (
        "suggestions",
        "end",
        client.post(address, files=images).json(),
    )


def test_images_to_rank_that_are_none_are_named_in_the_stream_too(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}/suggest"
    images = [("files", ("a.png", png(0))), ("files", ("b.png", b"no image"))]
    response = client.post(address, files=images, headers=STREAM)
    last = events(response)[-1]
    assert (response.status_code, last["event"], last["data"]["status"]) == (200, "failed", 415)
    assert [each["pointer"] for each in last["data"]["errors"]] == ["/files/1"]
    assert client.post("/v1/tasks/none/suggest", files=images, headers=STREAM).status_code == 404


def test_images_to_rank_in_another_form_are_told_which_one_is_right(client: httpx.Client) -> None:
    address = f"/v1/tasks/{create(client)['id']}/suggest"
    response = client.post(address, content=png(0), headers={"Content-Type": "image/png"})
    assert response.status_code == 415
    assert response.json()["detail"] == "'image/png' is not read here; send multipart/form-data with 'files'"
