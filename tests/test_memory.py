"""What is too large is refused before it costs memory, in a process of its own whose memory is looked at."""

import asyncio
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.toy_service import Parts, field, png
from tests.engine.toy_tasks import save_toy_base_model
from tests.running import Started, started

MEBIBYTE = 2**20
GROWTH_BYTES = 32 * MEBIBYTE
FORM = "multipart/form-data; boundary=X"
FILE = b'--X\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
FIELD = b'--X\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
ARCHIVE = b'--X\r\nContent-Disposition: form-data; name="archive"; filename="a.zip"\r\n\r\n'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("service")
    save_toy_base_model(folder / "toy.safetensors")
    with started(folder, BASE_MODELS_DIR=".", DECODED_BYTES=str(32 * MEBIBYTE)) as service:
        service.wait_until_ready()
        yield service


@pytest.fixture(autouse=True)
def memory_stays(service: Started) -> Iterator[None]:
    """The process never had more than a bit more memory than before."""
    process = Path(f"/proc/{service.process.pid}")
    (process / "clear_refs").write_text("5")  # forget the peak
    before = memory(process, "VmRSS")
    yield
    assert memory(process, "VmHWM") - before < GROWTH_BYTES


def memory(process: Path, name: str) -> int:
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def endless(start: bytes) -> Iterator[bytes]:
    """A body of a bit more than 256 MiB whose length nobody declares."""
    yield start
    for _ in range(257):
        yield b"x" * MEBIBYTE


@pytest.mark.parametrize(
    ("media_type", "start"),
    [(FORM, FILE), (FORM, FIELD), (FORM, b"--X\r\nX-Long: "), ("application/json", b'{"name": "')],
    ids=["file", "field", "header of a part", "JSON"],
)
def test_a_body_without_an_end(service: Started, media_type: str, start: bytes) -> None:
    headers = {"Content-Type": media_type}
    answer = httpx.post(f"{service.url}/v1/tasks", content=endless(start), headers=headers, timeout=60)
    assert answer.status_code in {400, 413}
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_archive_of_a_million_entries(service: Started) -> None:
    one = zipped(("o/a", b""))
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    directory = one[start:end] * 1_000_000
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)
    answer = sent(service, one[:start] + directory + tail)
    assert (answer.status_code, answer.json()["detail"][:35]) == (413, "the archive lists too many files; s")


def test_an_archive_that_grows_a_thousandfold(service: Started) -> None:
    archive = zipped(("good/a.png", bytes(255 * MEBIBYTE)), ("bad/b.png", bytes(100)))
    assert len(archive) * 900 < 255 * MEBIBYTE
    answer = sent(service, archive)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "image-too-large"


async def test_many_uploads_at_a_time_of_small_files_that_become_large_arrays(service: Started) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        task = (await client.post("/v1/tasks", json={})).json()["id"]
        asked = [client.build_request("POST", f"/v1/tasks/{task}/examples", files=images(100, n)) for n in range(8)]
        for request in asked:
            await request.aread()
        answers = await asyncio.gather(*map(client.send, asked))
    statuses = {answer.status_code for answer in answers}
    assert 201 in statuses
    assert statuses <= {201, 503}


def test_an_upload_whose_arrays_are_larger_than_all_may_be(service: Started) -> None:
    answer = httpx.post(f"{service.url}/v1/tasks", files=images(120, 0), timeout=60)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/request-too-large")
    assert "120 images take 36220800 bytes decoded" in answer.json()["detail"]


def images(n_images: int, seed: int) -> Parts:
    """The parts of a form: images of two classes, small as files, 151 kB each as what the shipped base models take."""
    parts: Parts = []
    for number in range(n_images):
        parts += [("files", (f"{seed}-{number}.png", png(number % 4, seed=seed))), field("labels", str(number % 2))]
    return parts


def zipped(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def sent(service: Started, archive: bytes) -> httpx.Response:
    body = ARCHIVE + archive + b"\r\n--X--\r\n"
    return httpx.post(f"{service.url}/v1/tasks", content=body, headers={"Content-Type": FORM}, timeout=60)
