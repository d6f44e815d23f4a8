"""The parts of a request lie in one file and are read from any thread."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.api.spool import FilePart, ReadTooLarge, Spool


def test_many_parts_use_one_file_and_are_read_by_many_threads() -> None:
    with Spool(memory_bytes=1000) as spool:
        before = len(list(Path("/proc/self/fd").iterdir()))
        parts = []
        for index in range(200):
            parts.append(FilePart("files", None, spool, spool.size_bytes, 100))
            spool.append(bytes([index]) * 100)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
        with ThreadPoolExecutor(8) as threads:
            read = list(threads.map(FilePart.read, parts))
    assert read == [bytes([index]) * 100 for index in range(200)]


def test_a_part_reads_like_a_file_of_its_own() -> None:
    with Spool() as spool:
        spool.append(b"before" + b"0123456789" + b"after")
        reader = FilePart("archive", None, spool, 6, 10).open(max_read_bytes=100)
        assert reader.read(3) == b"012"
        assert reader.seek(-4, io.SEEK_END) == 6
        assert reader.read() == b"6789"
        assert reader.seek(2, io.SEEK_SET) == 2
        assert reader.seek(1, os.SEEK_CUR) == 3
        assert reader.read(100) == b"3456789"
        assert reader.read(1) == b""
        with pytest.raises(ValueError, match="before the start"):
            reader.seek(-1)


def test_one_read_is_bounded() -> None:
    with Spool() as spool:
        spool.append(b"x" * 100)
        reader = FilePart("archive", None, spool, 0, 100).open(max_read_bytes=10)
        with pytest.raises(ReadTooLarge):
            reader.read()
        assert len(reader.read(10)) == 10
