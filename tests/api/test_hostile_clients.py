"""Clients that send what no library would: the service answers in order, or closes, and lives on."""

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from service.api.protocol import BoundedProtocol
from tests.api.toy_service import create, png

Address = tuple[str, int]
CHUNKED = (
    b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture(scope="module")
def address(client: httpx.Client) -> Address:
    return (client.base_url.host, client.base_url.port or 80)


@pytest.fixture(autouse=True)
def service_lives_on(client: httpx.Client) -> Iterator[None]:
    yield
    assert client.get("/readyz").status_code == 200


def exchange(address: Address, data: bytes) -> bytes:
    """All that comes back until the service closes or says nothing for a while."""
    with socket.create_connection(address, timeout=3) as connection:
        connection.sendall(data)
        return b"".join(received(connection))


def received(connection: socket.socket) -> Iterator[bytes]:
    connection.settimeout(1)
    try:
        while chunk := connection.recv(65536):
            yield chunk
    except (TimeoutError, ConnectionResetError):
        return


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nAccept: */*\r\n\r\n",
        b"GET /livez HTTP/1.1\nHost: localhost\n\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    ],
)
def test_bytes_that_are_no_request_get_a_problem_document(address: Address, data: bytes) -> None:
    head, _, body = exchange(address, data).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert b'"/problems/malformed-request"' in body


def test_a_header_cannot_be_smuggled_through_the_request_id(address: Address) -> None:
    request = (
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\tb%0d%0aSet-Cookie:x\r\nConnection: close\r\n\r\n"
    )
    assert b"Set-Cookie" not in exchange(address, request)


def test_an_upgrade_to_a_websocket_is_not_followed_and_ends_the_connection(address: Address) -> None:
    request = (
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = exchange(address, request)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


def test_a_host_in_the_target_counts_more_than_the_header(address: Address) -> None:
    rebound = b"GET http://rebound.example/v1/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ours = b"GET http://localhost:80/v1/limits HTTP/1.1\r\nHost: rebound.example\r\n\r\n"
    bracketed = b"GET http://[::1]:80/v1/limits HTTP/1.1\r\nHost: rebound.example\r\n\r\n"
    assert exchange(address, rebound).startswith(b"HTTP/1.1 403 ")
    assert exchange(address, ours).startswith(b"HTTP/1.1 200 ")
    assert exchange(address, bracketed).startswith(b"HTTP/1.1 200 ")


def test_nothing_is_echoed_to_trace(address: Address) -> None:
    answer = exchange(address, b"TRACE /v1/tasks HTTP/1.1\r\nHost: localhost\r\nCookie: secret\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"secret" not in answer


def test_a_trailer_is_no_header(address: Address) -> None:
    whole = CHUNKED + b'7\r\n{"n":1}\r\n0\r\nX-Request-Id: from-the-trailer\r\nHost: rebound.example\r\n\r\n'
    answer = exchange(address, whole)
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert b"from-the-trailer" not in answer


@pytest.mark.parametrize("endless", [b"2;", b"2\r\n{}\r\n0\r\nX-Long: "])
def test_what_is_no_body_has_an_end(address: Address, endless: bytes) -> None:
    assert exchange(address, CHUNKED + endless + b"a" * 2_000_000).count(b"HTTP/1.1 201 ") == 0


def test_a_body_that_nobody_reads_ends_with_the_connection(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_s", 0.3)
    started = time.monotonic()
    head = b"POST /v1/nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(address, timeout=3) as connection:
        connection.sendall(head)
        assert b"".join(received(connection)).startswith(b"HTTP/1.1 404 ")
    assert 0.2 < time.monotonic() - started < 1


def test_a_request_without_a_host_is_not_served(address: Address) -> None:
    answer = exchange(address, b"GET /v1/tasks HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"application/problem+json" in answer


def test_a_body_past_the_limit_is_told_before_it_is_sent(address: Address) -> None:
    request = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n"
    answer = exchange(address, request)
    assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
    assert b"application/problem+json" in answer


def test_an_endless_header_is_refused(address: Address) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 70_000
    answer = exchange(address, request)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"head of the request" in answer


def test_a_head_that_never_ends_closes_the_connection(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_s", 0.2)
    started = time.monotonic()
    assert exchange(address, b"GET /livez HTTP/1.1\r\nHost: local") == b""
    assert time.monotonic() - started < 1


def test_a_client_that_goes_away_in_its_body_leaves_nothing(client: httpx.Client, address: Address) -> None:
    before = len(client.get("/v1/tasks", params={"limit": 200}).json()["items"])
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=X\r\n"
    part = b'--X\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + png(0)
    with socket.create_connection(address, timeout=3) as connection:
        connection.sendall(head + b"Content-Length: 100000\r\n\r\n" + part)
        time.sleep(0.1)
    assert len(client.get("/v1/tasks", params={"limit": 200}).json()["items"]) == before


def test_a_slow_client_holds_up_nobody(client: httpx.Client, address: Address) -> None:
    task = create(client)["id"]
    head = f"POST /v1/tasks/{task}/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
    slow = [socket.create_connection(address, timeout=3) for _ in range(50)]
    for connection in slow:
        connection.sendall(head)
    started = time.monotonic()
    assert client.post(f"/v1/tasks/{task}/predict", content=png(0)).status_code == 200
    assert time.monotonic() - started < 5
    for connection in slow:
        connection.close()


def test_requests_in_a_row_on_one_connection_are_answered_in_order(address: Address) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(address, one * 3 + last)
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert answer.rindex(b"HTTP/1.1 404 ") > answer.rindex(b"HTTP/1.1 200 ")
