"""`multipart/form-data` as it is parsed here: fields in memory, files in a spool, every refusal a sentence of ours.

Why not the framework's parser: it keeps an open temporary file a part, reads bytes that are not UTF-8 as Latin-1,
and takes a body that ends too early for a whole one. The grammar itself is python-multipart's, as there.
"""

import unicodedata
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.api.problems import RejectedFields
from service.api.spool import FilePart, Spool
from service.errors import BadItem, MalformedRequest, RequestTooLarge

MAX_FIELD_BYTES: Final = 64 * 2**10
MAX_FILENAME_CHARS: Final = 255
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a form, each kind in the order in which they were sent."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[FilePart, ...]


@dataclass(slots=True)
class _Part:
    """The part being read; `filename` None makes it a field."""

    name: str = ""
    filename: str | None = None
    is_file: bool = False
    headers: dict[bytes, bytes] = field(default_factory=dict)
    value: bytearray = field(default_factory=bytearray)
    offset: int = 0


async def parse_form(
    body: AsyncIterator[bytes], content_type: str, spool: Spool, *, max_files: int, max_fields: int
) -> Form:
    """Read a whole form; the files' bytes go to the spool.

    Raises:
        MalformedRequest: it is not a form, or not all of it arrived.
        RequestTooLarge: it has more parts than allowed, or a field that is no field any more.
        RejectedFields: a field is not UTF-8 text.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedRequest("the Content-Type of a form names a boundary; leave that header to your HTTP library")
    reader = _FormReader(spool, max_files=max_files, max_fields=max_fields)
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]  # a TypedDict of callbacks
        async for chunk in body:
            parser.write(chunk)
            await reader.flush()
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest(f"the body is no multipart form: {error}") from error
    return reader.form()


class _FormReader:
    """Collects what python-multipart calls back with."""

    def __init__(self, spool: Spool, *, max_files: int, max_fields: int) -> None:
        self._spool = spool
        self._max_files = max_files
        self._max_fields = max_fields
        self._part = _Part()
        self._header = (bytearray(), bytearray())
        self._unwritten = bytearray()
        self._fields: list[tuple[str, str]] = []
        self._files: list[FilePart] = []
        self._is_complete = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """The callbacks by python-multipart's names."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    async def flush(self) -> None:
        """Bring file bytes to the spool."""
        if self._unwritten:
            await self._spool.write(self._unwritten)
            self._unwritten = bytearray()

    def form(self) -> Form:
        """The parts.

        Raises:
            MalformedRequest: the closing boundary never came.
        """
        if not self._is_complete:
            raise MalformedRequest("the form ends before its closing boundary: part of it did not arrive")
        return Form(tuple(self._fields), tuple(self._files))

    def _begin_part(self) -> None:
        self._part = _Part()

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._part.headers[name.lower()] = value
        self._header = (bytearray(), bytearray())

    def _end_headers(self) -> None:
        options = parse_options_header(self._part.headers.get(b"content-disposition"))[1]
        if b"name" not in options:
            raise MalformedRequest("a part of the form has no name in its Content-Disposition")
        self._part.name = options[b"name"].decode("utf-8", "replace")[:MAX_FILENAME_CHARS]
        self._part.is_file = b"filename" in options
        if self._part.is_file:
            self._part.filename = clean_filename(options[b"filename"].decode("utf-8", "replace"))
            self._part.offset = self._spool.size_bytes + len(self._unwritten)
        self._check_counts()

    def _check_counts(self) -> None:
        if self._part.is_file and len(self._files) >= self._max_files:
            raise RequestTooLarge(f"the form has more than {self._max_files} files; send them in several requests")
        if not self._part.is_file and len(self._fields) >= self._max_fields:
            raise RequestTooLarge(f"the form has more than {self._max_fields} fields; send them in several requests")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._unwritten += data[start:end]
            return
        self._part.value += data[start:end]
        if len(self._part.value) > MAX_FIELD_BYTES:
            raise RequestTooLarge(
                f"the field {self._part.name!r} has more than {MAX_FIELD_BYTES} bytes; a file needs a filename"
            )

    def _end_part(self) -> None:
        part = self._part
        if part.is_file:
            size = self._spool.size_bytes + len(self._unwritten) - part.offset
            if part.filename is None and size == 0:
                return  # what a browser sends for a file input that nobody filled in
            self._files.append(FilePart(part.name, part.filename, self._spool, part.offset, size))
        else:
            self._fields.append((part.name, _text(part.name, bytes(part.value))))

    def _end(self) -> None:
        self._is_complete = True


def clean_filename(name: str) -> str | None:
    """The last component of a name a client gave, printable and short; None if nothing is left.

    It is shown and stored as text, and never becomes a path.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(c for c in last if unicodedata.category(c) not in _UNPRINTABLE).strip()
    return printable[:MAX_FILENAME_CHARS] or None


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad_field(name, "not-utf-8", f"the field {name!r} is not UTF-8 text") from error
    if "\x00" in text:
        raise _bad_field(name, "null-character", f"the field {name!r} has a NUL character")
    return text


def _bad_field(name: str, code: str, detail: str) -> RejectedFields:
    return RejectedFields(detail, (BadItem(f"/{name}", code, detail),))
