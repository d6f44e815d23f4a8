"""How images travel: lazily, in parts, and as multipart that any parser reads."""

import io
import zipfile
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import Client, ImageSource
from service.client.uploads import PART_OVERHEAD_BYTES, batches, image_source, labelled_parts
from service.errors import InvalidRequest

TASK_ID = "0193b0a0-0000-7000-8000-000000000000"


class Recorder:
    """A service that keeps what it was sent and answers with one prediction a file."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        if request.url.path == "/v1/limits":
            return httpx.Response(200, json={"prediction_images": 2, "request_bytes": 1_000_000})
        self.requests.append(request)
        self.bodies.append(body)
        n_files = max(1, body.count(b'name="files"'))
        answer = {"label": "cat", "probability": 0.9, "scores": [{"label": "cat", "probability": 0.9}]}
        return httpx.Response(200, json={"task_id": TASK_ID, "version": 3, "predictions": [answer] * n_files})


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(recorder: Recorder) -> Client:
    return Client("http://service.test", transport=httpx.MockTransport(recorder))


def test_one_image_is_sent_as_the_raw_body(client: Client, recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image bytes")
    prediction = client.predict(TASK_ID, tmp_path / "a.png", top_k=1)
    assert recorder.bodies == [b"image bytes"]
    assert recorder.requests[0].headers["Content-Length"] == "11"
    assert recorder.requests[0].url.params["top_k"] == "1"
    assert (prediction.label, prediction.filename, prediction.version) == ("cat", "a.png", 3)


def test_many_images_are_sent_in_as_few_requests_as_the_limits_allow(client: Client, recorder: Recorder) -> None:
    predictions = client.predict(TASK_ID, [b"one", b"two", b"three"])
    assert [body.count(b'name="files"') for body in recorder.bodies] == [2, 1]
    assert len(predictions) == 3


def test_all_requests_of_one_call_ask_the_version_that_answered_the_first(client: Client, recorder: Recorder) -> None:
    client.predict(TASK_ID, [b"one", b"two", b"three"])
    assert "version" not in recorder.requests[0].url.params
    assert recorder.requests[1].url.params["version"] == "3"


def test_no_images_make_no_request(client: Client, recorder: Recorder) -> None:
    assert client.predict(TASK_ID, []) == []
    assert recorder.requests == []


def test_a_multipart_body_is_as_long_as_it_says(client: Client, recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(200_000))
    client.predict(TASK_ID, [tmp_path / "a.png", str(tmp_path / "a.png")])
    assert recorder.requests[0].headers["Content-Length"] == str(len(recorder.bodies[0]))
    assert recorder.bodies[0].count(bytes(200_000)) == 2


def test_a_file_is_open_only_while_it_is_sent(client: Client) -> None:
    opened: list[io.BytesIO] = []

    def open_one() -> io.BytesIO:
        assert all(file.closed for file in opened)
        opened.append(io.BytesIO(b"12345678"))
        return opened[-1]

    client.predict(TASK_ID, [ImageSource("a", 8, open_one), ImageSource("b", 8, open_one)])
    assert len(opened) == 2
    assert all(file.closed for file in opened)


def test_a_path_that_is_no_file_is_refused_before_anything_is_sent(client: Client, recorder: Recorder) -> None:
    with pytest.raises(InvalidRequest, match=r"nowhere.png is not a file"):
        client.predict(TASK_ID, [b"fine", "nowhere.png"])
    assert recorder.requests == []


def test_an_upload_without_images_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="no images"):
        client.add_examples(TASK_ID, {})


def test_labels_and_images_keep_the_order_given() -> None:
    parts = labelled_parts([("b", b"1"), ("a", b"22"), ("b", b"333")])
    assert parts.labels == ["b", "a", "b"]
    assert [file.read() for _, (_, file) in parts.files] == [b"1", b"22", b"333"]


def test_images_by_label_are_the_same_as_pairs() -> None:
    parts = labelled_parts({"a": [b"1", b"22"], "b": [b"333"]})
    assert parts.labels == ["a", "a", "b"]
    assert [file.read() for _, (_, file) in parts.files] == [b"1", b"22", b"333"]


def test_a_path_instead_of_images_is_a_zip(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image bytes")
    with pytest.raises(InvalidRequest, match=r"a\.png is no zip"):
        labelled_parts(tmp_path / "a.png")


def test_a_zip_takes_no_groups_beside_its_own(client: Client, recorder: Recorder, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/1.png", b"image bytes")
    with pytest.raises(InvalidRequest, match="a zip names its groups itself"):
        client.add_examples(TASK_ID, tmp_path / "a.zip", groups=["burst"])
    assert recorder.requests == []


def test_bytes_have_no_name() -> None:
    assert image_source(b"x").name is None


@given(st.lists(st.integers(0, 3000)), st.integers(1, 5), st.integers(1, 9000))
def test_batches_cover_every_image_once_in_order(sizes: list[int], max_images: int, max_bytes: int) -> None:
    parts = list(batches(sizes, max_images=max_images, max_bytes=max_bytes))
    assert [size for part in parts for size in sizes[part]] == sizes
    assert all(1 <= len(sizes[part]) <= max_images for part in parts)


@given(st.lists(st.integers(0, 3000)), st.integers(1, 5), st.integers(1, 9000))
def test_a_batch_of_several_images_fits_the_request(sizes: list[int], max_images: int, max_bytes: int) -> None:
    several = [sizes[part] for part in batches(sizes, max_images=max_images, max_bytes=max_bytes)]
    totals = [sum(part) + PART_OVERHEAD_BYTES * len(part) for part in several if len(part) > 1]
    assert all(total <= max_bytes for total in totals)
