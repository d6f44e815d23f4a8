"""Forms are parsed strictly, in pieces of any size, with a sentence for everything that is wrong."""

from collections.abc import AsyncIterator, Iterator

import pytest

from service.api.forms import MAX_FIELD_BYTES, Form, clean_filename, parse_form
from service.api.problems import RejectedFields
from service.api.spool import Spool
from service.errors import MalformedRequest, RequestTooLarge

TYPE = "multipart/form-data; boundary=XX"
END = b"--XX--\r\n"


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool(memory_bytes=64) as spool:
        yield spool


def field(name: str, value: bytes) -> bytes:
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def file(name: str, filename: str, data: bytes) -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return head.encode() + b"Content-Type: image/png\r\n\r\n" + data + b"\r\n"


async def parse(body: bytes, spool: Spool, *, content_type: str = TYPE, chunk_bytes: int = 7) -> Form:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk_bytes):
            yield body[start : start + chunk_bytes]

    return await parse_form(chunks(), content_type, spool, max_files=3, max_fields=3)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 10_000])
async def test_parts_keep_their_order_and_their_bytes(spool: Spool, chunk_bytes: int) -> None:
    first, second = b"\x00\r\n--X\r\nab" * 20, b""
    body = file("files", "a.png", first) + field("labels", "größe".encode()) + file("files", "b.png", second) + END
    form = await parse(body, spool, chunk_bytes=chunk_bytes)
    assert form.fields == (("labels", "größe"),)
    assert [(part.filename, part.size_bytes, part.read()) for part in form.files] == [
        ("a.png", len(first), first),
        ("b.png", 0, b""),
    ]


async def test_a_file_input_that_nobody_filled_in_is_no_file(spool: Spool) -> None:
    form = await parse(file("files", "", b"") + END, spool)
    assert form.files == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a form",
        field("name", b"x"),
        file("files", "a.png", b"cut")[:-4],
        b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
        b"--XX\r\nNonsense\r\n\r\nx\r\n" + END,
        b"--XX\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\nx\r\n" + END,
    ],
)
async def test_what_is_no_whole_form_is_refused(spool: Spool, body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        await parse(body, spool, chunk_bytes=5000)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 1000])
async def test_a_boundary_must_be_named_and_sane(spool: Spool, content_type: str) -> None:
    with pytest.raises(MalformedRequest):
        await parse(END, spool, content_type=content_type)


async def test_a_field_that_is_not_utf_8_is_told_by_name(spool: Spool) -> None:
    with pytest.raises(RejectedFields) as caught:
        await parse(field("labels", b"\xff\xfe") + END, spool)
    assert [(item.pointer, item.code) for item in caught.value.items] == [("/labels", "not-utf-8")]


async def test_a_nul_character_is_refused(spool: Spool) -> None:
    with pytest.raises(RejectedFields) as caught:
        await parse(field("name", b"a\x00b") + END, spool)
    assert caught.value.items[0].code == "null-character"


async def test_too_many_parts_are_too_large(spool: Spool) -> None:
    with pytest.raises(RequestTooLarge, match="more than 3 files"):
        await parse(file("files", "a.png", b"x") * 4 + END, spool)
    with pytest.raises(RequestTooLarge, match="more than 3 fields"):
        await parse(field("labels", b"x") * 4 + END, spool)


async def test_a_field_as_large_as_a_file_is_too_large(spool: Spool) -> None:
    with pytest.raises(RequestTooLarge, match="'name'"):
        await parse(field("name", b"x" * (MAX_FIELD_BYTES + 1)) + END, spool, chunk_bytes=4096)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.png", "a.png"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie: x.png"),
        ("/", None),
        ("\x00", None),
        ("ä" * 300, "ä" * 255),
    ],
)
def test_a_filename_is_text_and_never_a_path(name: str, expected: str | None) -> None:
    assert clean_filename(name) == expected
