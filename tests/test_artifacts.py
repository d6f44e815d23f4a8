"""Bytes by digest: durable, verified, shared between processes, and swept without a race."""

import contextlib
import errno
import fcntl
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from service.artifacts import ArtifactStore, FileArtifacts
from service.errors import ArtifactDamaged, ArtifactError, ArtifactMissing, StorageFull


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "artifacts"


@pytest.fixture
def artifacts(root: Path) -> FileArtifacts:
    return FileArtifacts(root)


def test_what_is_put_comes_back_under_its_sha_256(artifacts: ArtifactStore, root: Path) -> None:
    digest = artifacts.put(b"an image")
    assert digest == hashlib.sha256(b"an image").hexdigest()
    assert artifacts.get(digest) == b"an image"
    assert (root / digest[:2] / digest).read_bytes() == b"an image"


def test_many_are_put_at_once_and_named_in_order(artifacts: ArtifactStore) -> None:
    items = [bytes([number]) * 1000 for number in range(200)]
    digests = artifacts.put_many([*items, items[0]])
    assert [artifacts.get(digest) for digest in digests] == [*items, items[0]]
    assert len(set(digests)) == 200


def test_nothing_is_put_without_items(artifacts: ArtifactStore) -> None:
    assert artifacts.put_many([]) == ()


def test_no_bytes_are_an_artifact_too(artifacts: ArtifactStore) -> None:
    assert artifacts.get(artifacts.put(b"")) == b""


def test_a_second_store_in_the_same_folder_sees_everything(artifacts: ArtifactStore, root: Path) -> None:
    digest = artifacts.put(b"shared")
    assert FileArtifacts(root).get(digest) == b"shared"


def test_what_was_never_put_is_missing(artifacts: ArtifactStore) -> None:
    absent = hashlib.sha256(b"absent").hexdigest()
    assert not artifacts.exists(absent)
    with pytest.raises(ArtifactMissing, match=absent):
        artifacts.get(absent)


def test_a_file_that_changed_on_disk_is_damaged_and_not_answered(artifacts: ArtifactStore, root: Path) -> None:
    digest = artifacts.put(b"weights")
    _file(root, digest).write_bytes(b"weightz")
    with pytest.raises(ArtifactDamaged, match="7 bytes"):
        artifacts.get(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "ab" * 31, "AB" * 32, "g" * 64, "ab" * 32 + "\n"])
def test_what_is_no_digest_reaches_no_file(artifacts: ArtifactStore, digest: str) -> None:
    with pytest.raises(ArtifactError, match="is not a digest"):
        artifacts.get(digest)
    with pytest.raises(ArtifactError, match="is not a digest"):
        artifacts.exists(digest)


def test_putting_again_makes_the_file_young_and_does_not_write_it(artifacts: ArtifactStore, root: Path) -> None:
    digest = artifacts.put(b"again")
    _age(_file(root, digest), 3600)
    inode = _file(root, digest).stat().st_ino
    artifacts.put(b"again")
    assert _file(root, digest).stat().st_ino == inode
    assert _file(root, digest).stat().st_mtime > time.time() - 60


def test_putting_again_mends_a_file_that_lost_its_end(artifacts: ArtifactStore, root: Path) -> None:
    digest = artifacts.put(b"the whole of it")
    _file(root, digest).write_bytes(b"the who")
    artifacts.put(b"the whole of it")
    assert artifacts.get(digest) == b"the whole of it"


def test_a_sweep_removes_what_is_old_and_unnamed_and_nothing_else(artifacts: ArtifactStore, root: Path) -> None:
    named, unnamed, young = artifacts.put_many([b"named", b"unnamed", b"young"])
    _age(_file(root, named), 3600)
    _age(_file(root, unnamed), 3600)
    assert artifacts.sweep(lambda _: {named}) == 1
    assert [artifacts.exists(digest) for digest in (named, unnamed, young)] == [True, False, True]


def test_a_sweep_asks_one_directory_at_a_time_and_only_for_old_files(artifacts: ArtifactStore, root: Path) -> None:
    digests = artifacts.put_many([bytes([number]) for number in range(100)])
    for digest in digests[:60]:
        _age(_file(root, digest), 3600)
    asked: list[Sequence[str]] = []
    artifacts.sweep(lambda names: asked.append(names) or set(names))  # type: ignore[func-returns-value]
    assert sorted(name for names in asked for name in names) == sorted(digests[:60])
    assert all(len({name[:2] for name in names}) == 1 for names in asked)


def test_a_sweep_removes_old_temporary_files_and_leaves_young_ones(artifacts: ArtifactStore, root: Path) -> None:
    old, young = root / "ab" / ("ab" * 32 + ".1.tmp"), root / "cd" / ("cd" * 32 + ".2.tmp")
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    _age(old, 3600)
    assert artifacts.sweep(lambda _: set()) == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_a_sweep_leaves_files_that_are_not_its_own(artifacts: ArtifactStore, root: Path) -> None:
    strangers = [root / "README", root / "ab" / "notes.txt"]
    for stranger in strangers:
        stranger.write_text("mine")
        _age(stranger, 3600)
    assert artifacts.sweep(lambda _: set()) == 0
    assert all(stranger.exists() for stranger in strangers)


def test_the_age_at_which_a_sweep_removes_can_be_given(artifacts: ArtifactStore, root: Path) -> None:
    digest = artifacts.put(b"a minute old")
    _age(_file(root, digest), 60)
    assert artifacts.sweep(lambda _: set()) == 0
    assert artifacts.sweep(lambda _: set(), older_than_s=30) == 1


def test_a_put_while_the_rows_are_asked_keeps_the_file(artifacts: ArtifactStore, root: Path) -> None:
    digest = artifacts.put(b"wanted again")
    _age(_file(root, digest), 3600)

    def put_meanwhile(_: Sequence[str]) -> set[str]:
        artifacts.put(b"wanted again")
        return set()

    assert artifacts.sweep(put_meanwhile) == 0
    assert artifacts.get(digest) == b"wanted again"


def test_a_sweep_waits_for_a_put_under_way_and_then_looks_at_the_age_again(
    artifacts: ArtifactStore, root: Path
) -> None:
    path = _file(root, artifacts.put(b"contested"))
    _age(path, 3600)
    with ThreadPoolExecutor(1) as pool:
        with _locked(path.parent, fcntl.LOCK_SH):
            sweeping = pool.submit(artifacts.sweep, lambda _: set())
            with pytest.raises(TimeoutError):
                sweeping.result(0.3)
            os.utime(path)
        assert sweeping.result(10) == 0
    assert path.exists()


def test_a_put_waits_for_a_sweep_under_way_and_then_writes_what_it_took(artifacts: ArtifactStore, root: Path) -> None:
    path = _file(root, artifacts.put(b"contested"))
    with ThreadPoolExecutor(1) as pool:
        with _locked(path.parent, fcntl.LOCK_EX):
            putting = pool.submit(artifacts.put, b"contested")
            with pytest.raises(TimeoutError):
                putting.result(0.3)
            path.unlink()
        assert putting.result(10) == path.name
    assert artifacts.get(path.name) == b"contested"


def test_puts_do_not_wait_for_each_other(artifacts: ArtifactStore, root: Path) -> None:
    path = _file(root, artifacts.put(b"shared"))
    with _locked(path.parent, fcntl.LOCK_SH), ThreadPoolExecutor(1) as pool:
        assert pool.submit(artifacts.put, b"shared").result(10) == path.name


def test_two_processes_put_the_same_bytes(root: Path) -> None:
    FileArtifacts(root)
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    processes = [context.Process(target=_put_many_times, args=(root, start)) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(_all_files(root)) == 50
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in _all_files(root))


def test_a_process_killed_while_it_writes_leaves_no_half_artifact(root: Path) -> None:
    artifacts = FileArtifacts(root)
    writer = subprocess.Popen([sys.executable, "-c", _ENDLESS_WRITER, str(root)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.2)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    artifacts.sweep(set, older_than_s=-60)
    assert [path for path in _all_files(root) if len(artifacts.get(path.name)) != 3_000_000] == []


def test_a_full_disk_is_said_in_one_sentence_and_leaves_nothing(root: Path) -> None:
    FileArtifacts(root)
    answer = subprocess.run(
        [sys.executable, "-c", _WRITER_WITHOUT_SPACE, str(root)], check=True, capture_output=True, text=True
    )
    assert answer.stdout.startswith("StorageFull: cannot store an artifact")
    assert _all_files(root) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, ArtifactError)],
)
def test_what_the_disk_refuses_is_named(
    artifacts: ArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(expected, match=os.strerror(number)) as caught:
        artifacts.put_many([b"one", b"two", b"three"])
    assert type(caught.value) is expected
    assert _all_files(root) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ArtifactError, match="cannot prepare the artifact folder"):
        FileArtifacts(tmp_path / "file")


_ENDLESS_WRITER = """
import os, sys
from pathlib import Path
from service.artifacts import FileArtifacts
artifacts = FileArtifacts(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    artifacts.put(os.urandom(3_000_000))
"""

_WRITER_WITHOUT_SPACE = """
import resource, sys
from pathlib import Path
from service.artifacts import FileArtifacts
from service.errors import StorageFull
artifacts = FileArtifacts(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    artifacts.put(bytes(20_000))
except StorageFull as error:
    print(f"{type(error).__name__}: {error}")
"""


def _file(root: Path, digest: str) -> Path:
    return root / digest[:2] / digest


def _all_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def _age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@contextlib.contextmanager
def _locked(folder: Path, lock: int) -> Iterator[None]:
    """Hold a directory's lock as another process would."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(directory, lock)
        yield
    finally:
        os.close(directory)


def _put_many_times(root: Path, start: Event) -> None:
    artifacts = FileArtifacts(root)
    start.wait(60)
    for _ in range(5):
        artifacts.put_many([bytes([number]) * 5000 for number in range(50)])
