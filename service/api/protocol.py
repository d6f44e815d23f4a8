"""HTTP on the wire: uvicorn's, with bounds on what is no body and problem documents for what is no request.

Why: uvicorn's fast parser keeps a head or trailers of any size, for as long as their client likes, takes trailers for
headers, and answers bytes that are no HTTP with plain text.
"""

import asyncio
import json
import os
import socket
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.problems import MEDIA_TYPE, problem_document
from service.errors import MalformedRequest
from service.telemetry import new_request_id

MAX_HEAD_BYTES: Final = 64 * 2**10
HEAD_S: Final = 30.0
FIRST_S: Final = 1.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection; a head that is too long or takes too long closes it, and so does a body that nobody reads."""

    head_s: float = HEAD_S
    first_s: float = FIRST_S
    _is_reading_head = True
    _is_reading_body = False
    _had_body_bytes = False
    _overhead_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count it while it is no body: a head, the extension of a chunk, trailers."""
        if self.transport.is_closing():
            return
        self._had_body_bytes = False
        super().data_received(data)
        if self._is_reading_head or (self._is_reading_body and not self._had_body_bytes):
            self._overhead_bytes += len(data)
            if self._overhead_bytes > MAX_HEAD_BYTES:
                self._give_up()

    def on_message_begin(self) -> None:
        """A request begins, perhaps on a connection that had some before."""
        self._begin_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is none, and comes after everything was decided."""
        if self._is_reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole; the body has bounds of its own."""
        self._stop_timer()
        self._is_reading_head = False
        self._is_reading_body = True
        self._overhead_bytes = 0
        self._settle_host()
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # the parser takes what follows for another protocol

    def on_body(self, body: bytes) -> None:
        """Some of the body came."""
        self._had_body_bytes = True
        self._overhead_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._is_reading_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give the next head its time, and the rest of a body that was not read: its sender sees the answer then."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._start_timer()

    def shutdown(self) -> None:
        """End the connection once what its client has sent is answered; while draining, each answer closes it.

        A client that has connected and sent nothing yet gets a moment to.
        """
        if self.cycle is None and not self._overhead_bytes:
            self._start_timer(self.first_s)
        elif not self._is_reading_head and not self._has_unread_bytes():
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        """Refuse bytes that are no HTTP request, and close the connection; uvicorn has logged it."""
        self._refuse("this is not an HTTP request that can be read")

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: that a client asks for another protocol is no event."""

    def _begin_head(self) -> None:
        self._is_reading_head = True
        self._overhead_bytes = 0
        self._start_timer()

    def _settle_host(self) -> None:
        """See that the request names one host; one in its target counts more than the header (RFC 9112, 3.2.2).

        Raises:
            ValueError: it names none, or several; the parser makes that a refusal.
        """
        target = httptools.parse_url(self.url)
        if target.host:
            host = b"[%b]" % target.host if b":" in target.host else target.host
            port = b":%d" % target.port if target.port else b""
            self.headers[:] = [(name, value) for name, value in self.headers if name != b"host"]
            self.headers.append((b"host", host + port))
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise ValueError("a request has one Host")

    def _has_unread_bytes(self) -> bool:
        """Whether something came that was not read yet; a close would reset the connection."""
        connection = self.transport.get_extra_info("socket")
        with socket.socket(connection.family, connection.type, fileno=os.dup(connection.fileno())) as own:
            try:
                return bool(own.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            except OSError:
                return False

    def _start_timer(self, seconds: float | None = None) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.head_s if seconds is None else seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """Refuse what is too long; after the head, where an answer may be under way, the connection just ends."""
        if self._is_reading_head:
            self._refuse(f"the head of the request has more than {MAX_HEAD_BYTES} bytes")
        else:
            self.transport.close()

    def _refuse(self, detail: str) -> None:
        request_id = new_request_id()
        document = problem_document(MalformedRequest(detail)) | {"request_id": request_id}
        body = json.dumps(document).encode("ascii")
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
