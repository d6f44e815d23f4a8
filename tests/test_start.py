"""A service that starts before its database: it waits, says so once, and ends at once when it is told to."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from sqlalchemy import make_url

from service.persistence.migrate import migrate
from tests.databases import empty_postgresql_url, postgresql_url
from tests.running import free_port, serve_command

__all__ = ["empty_postgresql_url", "postgresql_url"]

START_S = 60.0


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A service's process and its log, whether or not it is ready."""
    arguments, environment = serve_command(folder, **settings)
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=stream, stderr=stream)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def forwarded(port: int, *, to: tuple[str, int]) -> Iterator[None]:
    """A database server that begins to listen on a port: what arrives there goes to the real one."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=_accept, args=(listener, to, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10)


def _accept(listener: socket.socket, to: tuple[str, int], over: threading.Event) -> None:
    while not over.is_set():
        with suppress(TimeoutError):
            client, server = listener.accept()[0], socket.create_connection(to)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_copy, args=(source, sink)).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with source, suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def wait_for(log: Path, sentence: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while sentence not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_service_waits_for_its_database_and_then_for_the_schema(tmp_path: Path, empty_postgresql_url: str) -> None:
    real = make_url(empty_postgresql_url)
    port, database_port = free_port(), free_port()
    late = real.set(port=database_port).render_as_string(hide_password=False)
    with started(tmp_path, DATABASE_URL=late, PORT=str(port)) as (process, log):
        wait_for(log, "waiting up to 60 s: the database cannot be read", process)
        with forwarded(database_port, to=(real.host or "", real.port or 5432)):
            wait_for(log, "waiting up to 60 s: the database has schema none", process)
            migrate(empty_postgresql_url)
            wait_for(log, "ready: device cpu", process)
            assert is_ready(f"http://127.0.0.1:{port}")
            assert log.read_text().count("waiting") == 2
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_a_service_that_waits_ends_at_once_when_it_is_told_to(tmp_path: Path) -> None:
    unreachable = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with started(tmp_path, DATABASE_URL=unreachable) as (process, log):
        wait_for(log, "waiting", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == 128 + signal.SIGTERM
        assert "Traceback" not in log.read_text()


def test_two_commands_that_migrate_at_the_same_time_both_succeed(tmp_path: Path, empty_postgresql_url: str) -> None:
    _, environment = serve_command(tmp_path, DATABASE_URL=empty_postgresql_url)
    command = [sys.executable, "-m", "service", "migrate"]
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=START_S)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
