"""The files of one request, kept in one temporary file until the request is answered.

Why one file: a thousand parts in a file each would need a thousand open descriptors, and a thousand in memory the
whole request in memory. Parts lie one after the other and are read by offset, from any thread.
"""

import asyncio
import errno
import io
import threading
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Final, Self

from service.errors import StorageFull

MEMORY_BYTES: Final = 2 * 2**20


class Spool:
    """Bytes that are appended once and read any number of times; in memory as long as they are few."""

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._file = SpooledTemporaryFile(max_size=memory_bytes)  # noqa: SIM115  # closed at exit
        self._lock = threading.Lock()
        self._memory_bytes = memory_bytes
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._file.close()

    async def write(self, data: bytes | bytearray) -> None:
        """Add bytes at the end, in a thread if that touches the disk.

        Raises:
            StorageFull: the disk of temporary files is full.
        """
        if self.size_bytes + len(data) <= self._memory_bytes:
            self.append(data)
        else:
            await asyncio.to_thread(self.append, data)

    def append(self, data: bytes | bytearray) -> None:
        """Add bytes at the end; may block.

        Raises:
            StorageFull: the disk of temporary files is full.
        """
        with self._lock:
            try:
                self._file.seek(self.size_bytes)
                self._file.write(data)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise StorageFull("the disk of temporary files is full; try again later") from error
                raise
        self.size_bytes += len(data)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """The bytes at an offset."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size_bytes)


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a form.

    Attributes:
        name: the form field it was sent as.
        filename: its last path component, or None.
        offset: where its bytes start in the spool.
    """

    name: str
    filename: str | None
    spool: Spool
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        """All bytes."""
        return self.spool.read(self.offset, self.size_bytes)

    def open(self, *, max_read_bytes: int) -> "PartReader":
        """The part as a file that refuses to give more than `max_read_bytes` at once."""
        return PartReader(self, max_read_bytes)


class PartReader(io.RawIOBase):
    """A part as a seekable file for `zipfile`.

    `zipfile` reads the whole directory of an archive with one `read`, and makes an object of every entry, before
    anybody can count them. The bound on one read is what keeps an archive of a million entries cheap.
    """

    def __init__(self, part: FilePart, max_read_bytes: int) -> None:
        super().__init__()
        self._part = part
        self._position = 0
        self.max_read_bytes = max_read_bytes

    def seekable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it.

        Raises:
            ValueError: the position is before the start.
        """
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._part.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"position {start + offset} is before the start of the file")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes.

        Raises:
            ReadTooLarge: that is more than may be read at once.
        """
        left = max(self._part.size_bytes - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self.max_read_bytes:
            raise ReadTooLarge
        data = self._part.spool.read(self._part.offset + self._position, wanted)
        self._position += len(data)
        return data


class ReadTooLarge(Exception):
    """More was asked for at once than may be."""
