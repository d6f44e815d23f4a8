"""What surrounds every request, as plain ASGI: its id, its log line, the metrics, the limit of its body.

Why plain ASGI: Starlette's `BaseHTTPMiddleware` puts a task and a queue around each request, and the framework's own
body limit answers with text instead of a problem document.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem_response, unexpected_response
from service.errors import MalformedRequest, RequestTooLarge, ServiceError
from service.telemetry import Metrics, log_access, new_request_id, reset_request_id, set_request_id

UNMATCHED: Final = "unmatched"
PROBES: Final = frozenset({"/livez", "/readyz"})
CLIENT_LEFT: Final = 499
BODY_PAUSE_S: Final = 60.0

_log = logging.getLogger("handful.api")


class RequestContext:
    """Gives each request its id, its headers, its log line; no exception leaves it.

    A HEAD is answered as the GET without its body (the server below leaves the body out).
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, is_draining: Callable[[], bool]) -> None:
        self.app = app
        self.metrics = metrics
        self.is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_request_id(Headers(scope=scope).get("x-request-id"))
        token = set_request_id(request_id)
        try:
            await self._answer(scope, receive, send, request_id=request_id)
        finally:
            reset_request_id(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        started = time.perf_counter()
        status = CLIENT_LEFT
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._mark(MutableHeaders(scope=message), request_id)
            await send(message)

        try:
            await self.app(inner, receive, send_marked)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception as error:  # noqa: BLE001  # the server must live on; unexpected_response logs it
            response = unexpected_response(error)
            if status == CLIENT_LEFT:
                await response(inner, receive, send_marked)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(inner.get("route"), "path", UNMATCHED)
            self.metrics.observe_request(scope["method"], route, status=status, seconds=seconds)
            level = logging.DEBUG if status == 200 and route in PROBES else logging.INFO  # they come every few seconds
            log_access(scope["method"], route, status=status, seconds=seconds, level=level)

    def _mark(self, headers: MutableHeaders, request_id: str) -> None:
        headers["X-Request-Id"] = request_id
        headers["X-Content-Type-Options"] = "nosniff"
        if self.is_draining():
            headers["Connection"] = "close"


class BodyLimit:
    """Refuses a body of more than `max_bytes`, whether or not its length was declared, and one that stands still."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, pause_s: float = BODY_PAUSE_S) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.pause_s = pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its bytes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self.max_bytes:
            await problem_response(_too_large(self.max_bytes))(scope, receive, send)
            return
        body = _CountedBody(receive, send, max_bytes=self.max_bytes, pause_s=self.pause_s)
        try:
            await self.app(scope, body.receive, body.send)
        except ServiceError as error:
            if error is not body.refusal:
                raise
        if body.refusal is not None and not body.answered:
            await problem_response(body.refusal)(scope, receive, send)


class _CountedBody:
    """The two ends of one request; an answer that the app gives after a refusal is held back."""

    def __init__(self, receive: Receive, send: Send, *, max_bytes: int, pause_s: float) -> None:
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._pause_s = pause_s
        self._received_bytes = 0
        self._is_complete = False
        self.refusal: ServiceError | None = None
        self.answered = False

    async def receive(self) -> Message:
        """The next message, or the refusal as an exception."""
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout(self._pause_s):
                message = await self._receive()
        except TimeoutError:
            self.refusal = MalformedRequest(f"no byte of the body arrived for {self._pause_s:g} s; send it again")
            raise self.refusal from None
        if message["type"] == "http.request":
            self._is_complete = not message.get("more_body", False)
            self._received_bytes += len(message.get("body", b""))
            if self._received_bytes > self._max_bytes:
                self.refusal = _too_large(self._max_bytes)
                raise self.refusal
        return message

    async def send(self, message: Message) -> None:
        """Pass the app's answer on unless the request was refused before the answer began."""
        if self.refusal is None or self.answered:
            self.answered = True
            await self._send(message)


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"the request has more than {max_bytes} bytes; send the files in several requests")
