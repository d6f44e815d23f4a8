"""HTTP on the wire: uvicorn's, with a bound on the head of a request and problem documents for what is no request.

Why: uvicorn's fast parser keeps a head of any size, for as long as its client likes, and answers bytes that are no
HTTP with plain text.
"""

import asyncio
import json
import logging
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.problems import MEDIA_TYPE, problem_document
from service.errors import MalformedRequest
from service.telemetry import new_request_id

MAX_HEAD_BYTES: Final = 64 * 2**10
HEAD_S: Final = 30.0

_log = logging.getLogger("handful.api")


class BoundedProtocol(HttpToolsProtocol):
    """One connection; a head that is too long or takes too long closes it."""

    head_s: float = HEAD_S
    _head_bytes = 0
    _is_reading_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count it while a head is not complete."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(f"the head of the request has more than {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A request begins, perhaps on a connection that had some before."""
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole; the body has bounds of its own."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP request, and close the connection."""
        _log.info("refused bytes that are no HTTP request: %s", msg)
        self._refuse("this is not an HTTP request that can be read")

    def _begin_head(self) -> None:
        self._end_head()
        self._is_reading_head = True
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_s, self.transport.close)

    def _end_head(self) -> None:
        self._is_reading_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

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
