"""Who may call: the key, and without one the rules that keep other people's web pages out.

A service without a key listens on loopback only, but every web page that its user opens can send requests to
loopback. Therefore: `Host` must name this machine (a page that rebinds its own name is told off), and a request that
a browser marks as coming from elsewhere is refused.
"""

import hmac
import re
from dataclasses import dataclass
from typing import Final

from fastapi import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem_response
from service.errors import Forbidden, ServiceError, Unauthorized

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
EXPOSED_HEADERS: Final = "Location, Retry-After, X-Request-Id, WWW-Authenticate, Idempotency-Replayed"
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::[0-9]{1,5})?", re.ASCII)
_STATIC: Final = ("/web/", "/problems/")
_STATIC_PAGES: Final = frozenset({"/", "/livez", "/readyz", "/docs", "/favicon.ico"})


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What a caller has to show.

    Attributes:
        api_key: the key every call must bring, or None.
        cors_origins: web pages of other origins that may call; `*` is all.
        loopback_only: `Host` must name this machine.
    """

    api_key: str | None
    cors_origins: tuple[str, ...] = ()
    loopback_only: bool = True

    def refusal(self, path: str, headers: Headers) -> ServiceError | None:
        """Why this request is not let in, or None."""
        if self.api_key is not None:
            return None if is_static(path) else self._refuse_key(headers)
        host = headers.get("host", "")
        if self.loopback_only and _host_name(host) not in LOOPBACK_NAMES:
            return Forbidden(
                f"without an API key this service answers to localhost, 127.0.0.1 and [::1] only, not to {host[:100]!r}"
            )
        if not is_static(path) and self._is_foreign(headers):
            return Forbidden("a web page of another origin may not call this service; HANDFUL_CORS_ORIGINS names those")
        return None

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of this origin may call and read the answers."""
        return "*" in self.cors_origins or origin in self.cors_origins

    def _refuse_key(self, headers: Headers) -> ServiceError | None:
        assert self.api_key is not None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        offered = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not offered:
            return Unauthorized("send the key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        if not hmac.compare_digest(offered.encode("utf-8", "replace"), self.api_key.encode()):
            return Unauthorized("the API key is wrong")
        return None

    def _is_foreign(self, headers: Headers) -> bool:
        origins = headers.getlist("origin")
        if len(origins) == 1 and self.allows_origin(origins[0]):
            return False
        if any(site.lower() == "cross-site" for site in headers.getlist("sec-fetch-site")):
            return True
        host = headers.get("host", "").lower()
        return any(origin.lower() not in {f"http://{host}", f"https://{host}"} for origin in origins)


class AccessGuard:
    """Lets in whom the rules let in, and answers browsers that ask beforehand (CORS)."""

    def __init__(self, app: ASGIApp, *, rules: AccessRules) -> None:
        self.app = app
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and self.rules.cors_origins:
            send = _with_cors(send, origin if self.rules.allows_origin(origin) else None)
            if self.rules.allows_origin(origin) and _is_preflight(scope, headers):
                await _preflight_response(headers)(scope, receive, send)
                return
        refusal = self.rules.refusal(scope["path"], headers)
        if refusal is not None:
            await problem_response(refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def is_static(path: str) -> bool:
    """Whether an address tells nothing about anybody's tasks and so needs no key."""
    return path in _STATIC_PAGES or path.startswith(_STATIC)


def _host_name(host: str) -> str:
    """The name of a `Host` header without its port and brackets, in lower case; empty if it is none."""
    found = _HOST.fullmatch(host.lower())
    return (found[1] or found[2]) if found else ""


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _preflight_response(headers: Headers) -> Response:
    answer = {"Access-Control-Allow-Methods": "GET, POST, DELETE", "Access-Control-Max-Age": "600"}
    if asked := headers.get("access-control-request-headers"):
        answer["Access-Control-Allow-Headers"] = asked
    return Response(status_code=204, headers=answer)


def _with_cors(send: Send, origin: str | None) -> Send:
    async def send_with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            answer.add_vary_header("Origin")
            if origin is not None:
                answer["Access-Control-Allow-Origin"] = origin
                answer["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        await send(message)

    return send_with_cors
