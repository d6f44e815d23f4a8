"""What the client, and the command that uses it, make of a stream of suggestions."""

import json
from pathlib import Path

import httpx
import pytest

from service.cli.life import _suggested
from service.client import Client, PoolProgress, ServiceUnreachable
from service.errors import EngineBusy, UploadRejected

TASK_ID = "0193b0a0-0000-7000-8000-000000000000"
SUGGESTION = {"index": 1, "filename": "b.png", "reason": "typical", "detail": "like no other", "n_alike": 1}
READ, SEEN = {"read": 1, "seen": 0, "of": 2}, {"read": 2, "seen": 2, "of": 2}
BAD = {"pointer": "/files/1", "code": "damaged-image", "detail": "it is truncated", "filename": "b.png"}


def client_of(*events: tuple[str, object]) -> Client:
    """A client of a service that answers with these events."""
    text = ": still here\n\n" + "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Accept"] == "text/event-stream"
        return httpx.Response(200, text=text)

    return Client("http://service.test", transport=httpx.MockTransport(answer))


def test_it_is_told_how_far_the_service_is_and_then_what_to_label() -> None:
    client = client_of(("progress", READ), ("progress", SEEN), ("suggestions", {"suggestions": [SUGGESTION]}))
    told: list[PoolProgress] = []
    (found,) = client.suggest(TASK_ID, [b"a", b"b"], on_progress=told.append)
    assert told == [PoolProgress(1, 0, 2), PoolProgress(2, 2, 2)]
    assert (found.index, found.reason) == (1, "typical")


def test_the_command_shows_what_is_read_and_then_what_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(b"image")
    client = client_of(("progress", READ), ("progress", SEEN), ("suggestions", {"suggestions": [SUGGESTION]}))
    assert len(_suggested(client, TASK_ID, paths, 1)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["images read: 1 of 2", "images read: 2 of 2", "images looked at: 2 of 2"]


def test_images_that_are_refused_in_the_stream_are_named() -> None:
    problem = {"type": "/problems/upload-rejected", "status": 422, "detail": "1 of 2 images", "errors": [BAD]}
    with pytest.raises(UploadRejected, match="1 of 2 images") as caught:
        client_of(("progress", READ), ("failed", problem)).suggest(TASK_ID, [b"a", b"b"])
    assert [item.pointer for item in caught.value.items] == ["/files/1"]


def test_a_stream_that_ends_too_early_is_no_answer() -> None:
    with pytest.raises(ServiceUnreachable, match="before it was whole"):
        client_of(("progress", READ)).suggest(TASK_ID, [b"a", b"b"])


def test_a_refusal_before_the_stream_is_raised_as_its_class() -> None:
    document = {"type": "/problems/engine-busy", "detail": "the queue is full"}
    refusing = httpx.MockTransport(lambda _: httpx.Response(503, json=document))
    with pytest.raises(EngineBusy, match="the queue is full"):
        Client("http://service.test", transport=refusing).suggest(TASK_ID, [b"a"])
