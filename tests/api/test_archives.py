"""Zip archives of label/file: read whole, or refused before they cost anything."""

import io
import struct
import time
import zipfile
from collections.abc import Iterator

import pytest

from service.api.archives import read_archive
from service.api.problems import RejectedFields
from service.api.spool import FilePart, Spool
from service.errors import DamagedImage, InvalidRequest, RequestTooLarge
from service.usecases.limits import Limits
from service.usecases.uploads import LabelledUpload

LIMITS = Limits(support_images=20, request_bytes=100_000)


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as spool:
        spool.append(b"something before")
        yield spool


def make_zip(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def read(data: bytes, spool: Spool) -> tuple[LabelledUpload, ...]:
    part = FilePart("archive", "a.zip", spool, spool.size_bytes, len(data))
    spool.append(data)
    return read_archive(part, LIMITS)


def codes(data: bytes, spool: Spool) -> list[tuple[str, str]]:
    with pytest.raises(RejectedFields) as caught:
        read(data, spool)
    return [(item.pointer, item.code) for item in caught.value.items]


def patched(data: bytes, *, central_offset: int, value: int, form: str) -> bytes:
    """The zip with one number of its first central directory entry changed, and of the local header as well."""
    central = data.index(b"PK\x01\x02") + central_offset
    local = central_offset - 2
    packed = struct.pack(form, value)
    changed = data[:central] + packed + data[central + len(packed) :]
    return changed[:local] + packed + changed[local + len(packed) :]


def test_the_label_is_the_folder_of_the_file(spool: Spool) -> None:
    uploads = read(make_zip(("screws/long/a.png", b"A"), ("screws/short/b.png", b"BB")), spool)
    assert [(each.label, each.upload.filename, each.pointer) for each in uploads] == [
        ("long", "a.png", "/archive/screws/long/a.png"),
        ("short", "b.png", "/archive/screws/short/b.png"),
    ]
    assert [each.upload.read() for each in uploads] == [b"A", b"BB"]
    assert [each.upload.size_bytes for each in uploads] == [1, 2]


def test_what_the_user_did_not_put_there_is_skipped(spool: Spool) -> None:
    entries = ["__MACOSX/owl/._a.png", "owl/.DS_Store", ".git/owl/a.png", "owl/", "owl/a.png"]
    uploads = read(make_zip(*((name, b"x") for name in entries)), spool)
    assert [each.pointer for each in uploads] == ["/archive/owl/a.png"]


@pytest.mark.parametrize("name", ["../../owl/a.png", "/owl/a.png", "owl\\a.png", "C:\\owl\\a.png", "owl/../owl/a.png"])
def test_a_name_is_a_label_and_never_a_path(spool: Spool, name: str) -> None:
    (upload,) = read(make_zip((name, b"x")), spool)
    assert (upload.label, upload.upload.filename) == ("owl", "a.png")


def test_a_name_in_utf_8_without_its_flag_is_understood(spool: Spool) -> None:
    flagged = make_zip(("größe/a.png", b"x"))
    (upload,) = read(flagged.replace(struct.pack("<H", 0x800), b"\x00\x00"), spool)
    assert upload.label == "größe"


def test_an_entry_in_no_folder_has_no_label(spool: Spool) -> None:
    assert codes(make_zip(("a.png", b"x"), ("owl/b.png", b"x")), spool) == [("/archive/a.png", "missing-label")]


def test_an_encrypted_entry_is_refused(spool: Spool) -> None:
    encrypted = patched(make_zip(("owl/a.png", b"x")), central_offset=8, value=1, form="<H")
    assert codes(encrypted, spool) == [("/archive/owl/a.png", "encrypted-entry")]


MANIFEST = b'{"classes": [{"folder": "a_b", "label": "a/b", "is_left_out": true}], "groups": {"a_b/1.png": "burst"}}'


@pytest.mark.parametrize("parent", ["", "saved/"])
def test_a_manifest_says_what_folders_cannot(spool: Spool, parent: str) -> None:
    names = (f"{parent}a_b/1.png", f"{parent}a_b/2.png", f"{parent}owl/1.png")
    data = make_zip(*((name, b"x") for name in names), (f"{parent}handful.json", MANIFEST))
    assert [(each.label, each.group, each.is_left_out) for each in read(data, spool)] == [
        ("a/b", "burst", True),
        ("a/b", None, True),
        ("owl", None, False),
    ]


def test_a_manifest_that_cannot_be_read_is_refused(spool: Spool) -> None:
    assert codes(make_zip(("owl/1.png", b"x"), ("handful.json", b"{")), spool) == [
        ("/archive/handful.json", "invalid-manifest")
    ]
    with pytest.raises(InvalidRequest, match="2 files handful"):
        read(make_zip(("handful.json", b"{}"), ("owl/handful.json", b"{}"), ("owl/1.png", b"x")), spool)


def test_an_archive_in_an_archive_is_refused_whatever_its_name(spool: Spool) -> None:
    inner = make_zip(("owl/a.png", b"x"))
    assert codes(make_zip(("owl/a.png", inner)), spool) == [("/archive/owl/a.png", "nested-archive")]


def test_packing_whose_expansion_cannot_be_bounded_is_refused(spool: Spool) -> None:
    packed = make_zip(("owl/a.png", b"x"), method=zipfile.ZIP_LZMA)
    assert codes(packed, spool) == [("/archive/owl/a.png", "unknown-compression")]


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"no zip at all" * 50, make_zip(("owl/a.png", b"x"))[:-30]],
    ids=["nothing", "two bytes", "text", "cut off"],
)
def test_what_is_no_zip_is_refused(spool: Spool, data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(data, spool)


def test_too_many_files_are_too_large(spool: Spool) -> None:
    with pytest.raises(RequestTooLarge, match="21 files"):
        read(make_zip(*((f"owl/{index}.png", b"x") for index in range(21))), spool)


def test_a_bomb_is_refused_by_what_its_directory_says(spool: Spool) -> None:
    with pytest.raises(RequestTooLarge, match="unpacks to"):
        read(make_zip(("owl/a.png", bytes(1_000_000))), spool)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(spool: Spool) -> None:
    lying = patched(make_zip(("owl/a.png", bytes(50_000_000))), central_offset=24, value=10, form="<I")
    assert codes(lying, spool) == [("/archive/owl/a.png", "damaged-entry")]


def test_damage_at_the_start_is_told_at_once(spool: Spool) -> None:
    data = make_zip(("owl/a.png", b"0123456789"), method=zipfile.ZIP_STORED).replace(b"0123456789", b"0123456780", 1)
    assert codes(data, spool) == [("/archive/owl/a.png", "damaged-entry")]


def test_damage_further_on_is_told_when_the_image_is_read(spool: Spool) -> None:
    data = make_zip(("owl/a.png", b"x" * 50_000 + b"end"), method=zipfile.ZIP_STORED).replace(b"xend", b"xand", 1)
    (upload,) = read(data, spool)
    with pytest.raises(DamagedImage):
        upload.upload.read()


def test_a_million_entries_cost_nothing(spool: Spool) -> None:
    one = make_zip(("o/a", b""))
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    directory = one[start:end] * 1_000_000
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)
    started = time.process_time()
    with pytest.raises(RequestTooLarge, match="too many files"):
        read(one[:start] + directory + tail, spool)
    assert time.process_time() - started < 1
