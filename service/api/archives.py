"""Zip archives of `label/file`: what is in them, refused before it costs anything.

Sizes and counts are checked from the archive's directory, and no more than an entry declared is ever unpacked. A
name in an archive becomes a label and a text for people; it never becomes a path.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.api.forms import clean_filename
from service.api.manifests import MANIFEST, MAX_MANIFEST_BYTES, Manifest, read_manifest
from service.api.problems import RejectedFields
from service.api.spool import FilePart, PartReader, ReadTooLarge
from service.errors import BadItem, DamagedImage, InvalidRequest, RequestTooLarge
from service.usecases.limits import Limits
from service.usecases.uploads import LabelledUpload, Upload

MAX_POINTER_CHARS: Final = 1_024
_DIRECTORY_BYTES_AN_ENTRY: Final = 400
_SKIPPED_ENTRIES: Final = 1_000
_CHUNK_BYTES: Final = 2**20
_ENCRYPTED: Final = 0x1 | 0x40
_UTF8_NAME: Final = 0x800
_ARCHIVE_STARTS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zX")
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError, ReadTooLarge)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of the archive that counts, with its folders."""

    info: zipfile.ZipInfo
    folders: tuple[str, ...]
    filename: str

    @property
    def pointer(self) -> str:
        """Where it stands in the request."""
        parts = (clean_filename(part) or "?" for part in (*self.folders, self.filename))
        return "/archive/" + "/".join(parts)[:MAX_POINTER_CHARS].replace("~", "~0")


def read_archive(part: FilePart, limits: Limits) -> tuple[LabelledUpload, ...]:
    """The images of a zip, each labelled with the folder it lies in, or as its manifest says; blocks: use a thread.

    Raises:
        InvalidRequest: it is no zip that can be read, or has entries that cannot be: encrypted, nested, in no folder;
            or a manifest that is none.
        RequestTooLarge: it has more files or bytes than a request may.
    """
    max_entries = 4 * limits.support_images + _SKIPPED_ENTRIES  # folders and what macOS adds are entries too
    reader = part.open(max_read_bytes=max_entries * _DIRECTORY_BYTES_AN_ENTRY)
    archive = _open(reader)
    reader.max_read_bytes = max(reader.max_read_bytes, 2 * _CHUNK_BYTES)
    entries = [entry for entry in map(_entry, archive.infolist()) if entry is not None]
    manifest, base = _manifest(archive, [entry for entry in entries if entry.filename == MANIFEST])
    entries = [entry for entry in entries if entry.filename != MANIFEST]
    if len(entries) > limits.support_images:
        raise RequestTooLarge(f"the archive has {len(entries)} files, at most {limits.support_images} are taken")
    unpacked = sum(entry.info.file_size for entry in entries)
    if unpacked > limits.request_bytes:
        raise RequestTooLarge(f"the archive unpacks to {unpacked} bytes, at most {limits.request_bytes} are taken")
    _refuse_unusable(archive, entries)
    return tuple(_labelled(archive, entry, manifest, base) for entry in entries)


def _open(reader: PartReader) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(reader)
    except ReadTooLarge as error:
        raise RequestTooLarge("the archive lists too many files; send them in several requests") from error
    except _BROKEN as error:
        raise InvalidRequest("the field 'archive' is not a zip archive that can be read") from error


def _entry(info: zipfile.ZipInfo) -> _Entry | None:
    """The entry, or None if it is a folder or nothing that the user put there."""
    components = [part for part in _name(info).replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    if info.is_dir() or not components:
        return None
    if "__MACOSX" in components or any(part.startswith(".") for part in components):
        return None
    return _Entry(info, tuple(components[:-1]), components[-1])


def _manifest(archive: zipfile.ZipFile, entries: Sequence[_Entry]) -> tuple[Manifest, str]:
    """What the archive says of itself, and the folder below which it says so."""
    if not entries:
        return Manifest(), ""
    if len(entries) > 1:
        raise InvalidRequest(f"the archive has {len(entries)} files {MANIFEST}; leave one of them")
    (entry,) = entries
    if entry.info.file_size > MAX_MANIFEST_BYTES:
        raise RequestTooLarge(f"{MANIFEST} in the archive has more than {MAX_MANIFEST_BYTES} bytes")
    _refuse_unusable(archive, [replace(entry, folders=(*entry.folders, ""))])
    try:
        data = _reader(archive, entry)()
    except DamagedImage as error:
        raise InvalidRequest(f"{MANIFEST} in the archive cannot be unpacked") from error
    return read_manifest(data), "".join(f"{folder}/" for folder in entry.folders)


def _name(info: zipfile.ZipInfo) -> str:
    """The name as it was meant: many programs write UTF-8 without the flag that says so."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _refuse_unusable(archive: zipfile.ZipFile, entries: Sequence[_Entry]) -> None:
    items = tuple(item for entry in entries if (item := _bad_entry(archive, entry)) is not None)
    if items:
        more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
        raise RejectedFields(items[0].detail + more, items)


def _bad_entry(archive: zipfile.ZipFile, entry: _Entry) -> BadItem | None:
    if entry.info.flag_bits & _ENCRYPTED:
        return _bad(entry, "encrypted-entry", "is encrypted")
    if entry.info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return _bad(entry, "unknown-compression", "is packed in a way that is not read; use deflate")
    if not entry.folders:
        return _bad(entry, "missing-label", "lies in no folder, so it has no label")
    try:
        with archive.open(entry.info) as file:
            start = file.read(4)
    except (*_BROKEN, RuntimeError):
        return _bad(entry, "damaged-entry", "cannot be unpacked")
    if start.startswith(_ARCHIVE_STARTS):
        return _bad(entry, "nested-archive", "is an archive itself; put the images into the folders")
    return None


def _bad(entry: _Entry, code: str, what: str) -> BadItem:
    filename = clean_filename(entry.filename)
    return BadItem(entry.pointer, code, f"{filename!r} in the archive {what}", filename)


def _labelled(archive: zipfile.ZipFile, entry: _Entry, manifest: Manifest, base: str) -> LabelledUpload:
    upload = Upload(clean_filename(entry.filename), entry.info.file_size, _reader(archive, entry))
    folder = "/".join(entry.folders).removeprefix(base)
    return LabelledUpload(
        manifest.labels.get(folder, entry.folders[-1]),
        upload,
        entry.pointer,
        manifest.groups.get(f"{folder}/{entry.filename}"),
        is_left_out=folder in manifest.left_out,
    )


def _reader(archive: zipfile.ZipFile, entry: _Entry) -> Callable[[], bytes]:
    def read() -> bytes:
        data = bytearray()
        try:
            with archive.open(entry.info) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    data += chunk
        except (*_BROKEN, RuntimeError) as error:
            raise DamagedImage("the archive's entry cannot be unpacked") from error
        if len(data) != entry.info.file_size:
            raise DamagedImage("the archive's entry is shorter than its directory says")
        return bytes(data)

    return read
