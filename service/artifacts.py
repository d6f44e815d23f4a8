"""Bytes by digest: uploads, features and task parameters, as files named by their SHA-256.

A file stands at `ROOT/ab/abcdef...`. It is written to a temporary name, synced, renamed, and its directory synced, so
a digest that `put` has given back outlives a crash, and a file under its digest is never half-written.

Why locks: a delete removes rows only, and `sweep` removes the files that no row names. A `put` of bytes that are
there already makes the file young again instead of writing it. A put holds its directory's lock shared and a sweep
holds it alone while it looks at a file's age and removes it, so no put ever gives back a digest whose file goes. The
locks are `flock` on the directory: they hold between processes and end with the process that held them.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from service.errors import ArtifactDamaged, ArtifactError, ArtifactMissing, StorageFull

SWEEP_AGE_S = 600.0
"""How old a file is before a sweep may remove it: longer than any request takes from its first put to its rows."""

_WRITERS = 8
"""Files of one `put_many` that are written and synced at the same time."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".tmp"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

IsNamed = Callable[[Sequence[str]], AbstractSet[str]]
"""Which of these digests are named by some row."""


class ArtifactStore(Protocol):
    """Where bytes are kept under their SHA-256 digest. Every method may block and may run in any thread."""

    def put(self, data: bytes) -> str:
        """Store the bytes and give their digest; they outlive a crash from then on.

        Raises:
            StorageFull: there is no space left.
            ArtifactError: they cannot be stored for another reason.
        """

    def put_many(self, items: Sequence[bytes]) -> tuple[str, ...]:
        """Store each item, concurrently, and give the digests in order; raises what `put` raises."""

    def get(self, digest: str) -> bytes:
        """The bytes with this digest, verified.

        Raises:
            ArtifactMissing: nothing is stored under it.
            ArtifactDamaged: what is stored has another digest.
            ArtifactError: it is no digest, or what is stored cannot be read.
        """

    def exists(self, digest: str) -> bool:
        """Whether something is stored under this digest; not whether it is whole."""

    def sweep(self, is_named: IsNamed, older_than_s: float = SWEEP_AGE_S) -> int:
        """Remove what no row names and was last put more than `older_than_s` ago; gives how many files went."""


class FileArtifacts:
    """An `ArtifactStore` in a local folder; any number of threads and processes may share one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with _as_artifact_errors("prepare the artifact folder"):
            for first, second in itertools.product("0123456789abcdef", repeat=2):
                (root / (first + second)).mkdir(parents=True, exist_ok=True)
            for folder in (root, root.parent):
                with _opened_directory(folder) as directory:
                    os.fsync(directory)

    def put(self, data: bytes) -> str:
        """Store the bytes and give their digest."""
        return self.put_many([data])[0]

    def put_many(self, items: Sequence[bytes]) -> tuple[str, ...]:
        """Store each item, up to eight directories at a time, and give the digests in order."""
        digests = tuple(hashlib.sha256(item).hexdigest() for item in items)
        contents = dict(zip(digests, items, strict=True))
        folders = [list(group) for _, group in itertools.groupby(sorted(contents), key=lambda digest: digest[:2])]
        if len(folders) <= 1:
            for names in folders:
                self._put_into_folder(names, contents)
            return digests
        with ThreadPoolExecutor(min(_WRITERS, len(folders)), "artifacts") as pool:
            for done in [pool.submit(self._put_into_folder, names, contents) for names in folders]:
                done.result()
        return digests

    def get(self, digest: str) -> bytes:
        """The bytes with this digest, verified."""
        path = self._path(digest)
        with _as_artifact_errors(f"read artifact {digest}"):
            try:
                data = path.read_bytes()
            except FileNotFoundError as error:
                raise ArtifactMissing(f"artifact {digest} is not in the store; restore it from a backup") from error
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise ArtifactDamaged(
                f"artifact {digest} holds {len(data)} bytes with digest {found}; restore it from a backup"
            )
        return data

    def exists(self, digest: str) -> bool:
        """Whether something is stored under this digest; not whether it is whole."""
        return self._path(digest).is_file()

    def sweep(self, is_named: IsNamed, older_than_s: float = SWEEP_AGE_S) -> int:
        """Remove what no row names and was last put more than `older_than_s` ago; gives how many files went.

        Also removes what a crash left half-written. `is_named` is asked once a directory, with the digests of its
        old files: a 256th of all, so that a million files fit in memory.
        """
        with _as_artifact_errors("sweep the artifact folder"):
            return sum(
                _sweep_folder(folder, is_named, older_than_s)
                for folder in sorted(self._root.iterdir())
                if len(folder.name) == 2 and folder.is_dir()
            )

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ArtifactError(f"{digest[:80]!r} is not a digest; expected 64 lower-case hexadecimal digits")
        return self._root / digest[:2] / digest

    def _put_into_folder(self, digests: Iterable[str], contents: dict[str, bytes]) -> None:
        with _as_artifact_errors("store an artifact"):
            digests = list(digests)
            folder = self._path(digests[0]).parent
            with _opened_directory(folder) as directory:
                fcntl.flock(directory, fcntl.LOCK_SH)
                for digest in digests:
                    if not _made_young(folder / digest, len(contents[digest])):
                        _write(folder / digest, contents[digest])
                os.fsync(directory)


def _made_young(path: Path, size_bytes: int) -> bool:
    """Touch the file if it is there and as long as it should be; whether it was."""
    try:
        if path.stat().st_size != size_bytes:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sweep_folder(folder: Path, is_named: IsNamed, older_than_s: float) -> int:
    old = [entry.name for entry in os.scandir(folder) if _is_old(Path(entry.path), older_than_s)]
    digests = [name for name in old if _DIGEST.fullmatch(name)]
    named = is_named(digests) if digests else frozenset()
    unwanted = [name for name in old if name.endswith(_TEMPORARY) or (_DIGEST.fullmatch(name) and name not in named)]
    if not unwanted:
        return 0
    removed = 0
    with _opened_directory(folder) as directory:
        fcntl.flock(directory, fcntl.LOCK_EX)
        for name in unwanted:
            if _is_old(folder / name, older_than_s):
                (folder / name).unlink(missing_ok=True)
                removed += 1
    return removed


def _is_old(path: Path, older_than_s: float) -> bool:
    try:
        return path.stat().st_mtime < time.time() - older_than_s
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _opened_directory(folder: Path) -> Iterator[int]:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield directory
    finally:
        os.close(directory)


@contextlib.contextmanager
def _as_artifact_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise StorageFull(f"cannot {action}: {reason}; free some space and try again") from error
        raise ArtifactError(f"cannot {action}: {reason}") from error
