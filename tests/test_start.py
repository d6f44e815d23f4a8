"""A service that is used the moment it listens; and one that starts before its database: it waits, and says so once."""

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
from tests.api.toy_service import field, support
from tests.databases import empty_postgresql_url, postgresql_url
from tests.running import START_S, Started, free_port, serve_command, started

__all__ = ["empty_postgresql_url", "postgresql_url"]


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


def wait_for_line(service: Started, sentence: str) -> None:
    deadline = time.monotonic() + START_S
    while sentence not in service.log.read_text():
        assert time.monotonic() < deadline, service.log.read_text()
        assert service.process.poll() is None, service.log.read_text()
        time.sleep(0.05)


def wait_for_listener(service: Started) -> None:
    address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
    deadline = time.monotonic() + START_S
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(address):
            return
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.01)


def test_a_service_waits_for_its_database_and_then_for_the_schema(tmp_path: Path, empty_postgresql_url: str) -> None:
    real = make_url(empty_postgresql_url)
    database_port = free_port()
    late = real.set(port=database_port).render_as_string(hide_password=False)
    with started(tmp_path, DATABASE_URL=late) as service:
        wait_for_line(service, "waiting up to 60 s: the database cannot be read")
        with forwarded(database_port, to=(real.host or "", real.port or 5432)):
            wait_for_line(service, "waiting up to 60 s: the database has schema none")
            migrate(empty_postgresql_url)
            service.wait_until_ready()
            assert service.log.read_text().count("waiting") == 2
            service.process.terminate()
            assert service.process.wait(20) == 0


def test_the_first_request_is_answered_however_early_it_comes(tmp_path: Path) -> None:
    with started(tmp_path) as service, httpx.Client(base_url=service.url, timeout=START_S) as client:
        wait_for_listener(service)
        assert client.get("/readyz").status_code == 503
        created = client.post("/v1/tasks", files=[*support(), field("wait", "60")])
        assert (created.status_code, created.json().get("state")) == (201, "ready")
        assert client.get("/readyz").status_code == 200


def test_a_service_that_waits_ends_at_once_when_it_is_told_to(tmp_path: Path) -> None:
    unreachable = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with started(tmp_path, DATABASE_URL=unreachable) as service:
        wait_for_line(service, "waiting")
        service.process.terminate()
        assert service.process.wait(5) == 128 + signal.SIGTERM
        assert "Traceback" not in service.log.read_text()


def test_two_commands_that_migrate_at_the_same_time_both_succeed(tmp_path: Path, empty_postgresql_url: str) -> None:
    _, environment = serve_command(tmp_path, DATABASE_URL=empty_postgresql_url)
    command = [sys.executable, "-m", "service", "migrate"]
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=START_S)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
