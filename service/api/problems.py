"""RFC 9457 problem documents: the one place that turns an error into HTTP.

`type` is `/problems/<problem type>`; the same address answers with what that problem is, so the link works.
"""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from service.error_names import error_classes
from service.errors import (
    BadItem,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    RequestInProgress,
    RequestTooLarge,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UploadRejected,
)
from service.telemetry import current_request_id
from service.usecases.texts import nearest_name

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
UNEXPECTED: Final = "something went wrong inside Handful; its log tells more under this request id"

_log = logging.getLogger("handful.api")
_UNIONS: Final = frozenset({"prior"})
"""Fields of one kind or another: pydantic says after their name which kind it took the value for."""

_BY_STATUS: Final[Mapping[int, type[ServiceError]]] = {
    400: MalformedRequest,
    404: NotFound,
    405: MethodNotAllowed,
    413: RequestTooLarge,
    415: UnsupportedMediaType,
    422: InvalidRequest,
}


class RejectedFields(InvalidRequest):
    """The request was understood but some of its fields cannot be right."""

    def __init__(self, message: str, items: tuple[BadItem, ...] = ()) -> None:
        super().__init__(message)
        self.items = items

    @classmethod
    def problem_type(cls) -> str:
        """Clients know it as `invalid-request`."""
        return InvalidRequest.problem_type()


class NotReady(Unavailable):
    """Some part of the service is not ready."""

    def __init__(self, message: str, items: tuple[BadItem, ...] = ()) -> None:
        super().__init__(message)
        self.items = items


def problem_response(error: ServiceError, *, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells a client about an error."""
    body = json.dumps(problem_document(error)).encode("ascii")
    return Response(body, error.status, {**_headers(error), **(headers or {})}, MEDIA_TYPE)


def problem_document(error: ServiceError) -> dict[str, Any]:
    """The members of the problem document."""
    document: dict[str, Any] = {
        "type": f"/problems/{error.problem_type()}",
        "title": error.title(),
        "status": error.status,
        "detail": error.message,
        "request_id": current_request_id(),
    }
    if isinstance(error, UploadRejected | RejectedFields | NotReady) and error.items:
        document["errors"] = [
            {"pointer": item.pointer, "code": item.code, "detail": item.detail, "filename": item.filename}
            for item in error.items
        ]
    return document


def unexpected_response(error: BaseException) -> Response:
    """The answer to what nobody foresaw; the log gets the traceback, the client none of it."""
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return problem_response(ServiceError(UNEXPECTED))


def install_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error of the app a problem document; `routes` tell which methods an address has."""

    async def on_service_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        if error.status >= 500 and not isinstance(error, Unavailable):
            _log.error("%s: %s", type(error).__name__, error.message)
        return problem_response(error)

    async def on_validation_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(validation_problem(error.errors()))

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return _method_not_allowed(request, routes)
        return problem_response(_from_framework(request, error), headers=error.headers)

    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)


def validation_problem(errors: Iterable[Mapping[str, Any]], known: Collection[str] = ()) -> ServiceError:
    """What pydantic found wrong, with a JSON pointer for each place: `/steps` in a body, `/query/limit` elsewhere.

    `known` are the fields that the body may have.
    """
    items = tuple(_bad_field(error, known) for error in errors)
    if any(item.code == "json-invalid" for item in items):
        return MalformedRequest("the body is not JSON")
    first = f"{items[0].pointer}: {items[0].detail}".removeprefix(": ") if items else "the request cannot be right"
    more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
    return RejectedFields(first + more, items)


def problem_types() -> dict[str, type[ServiceError]]:
    """Every problem that can be answered, by its stable name."""
    return {cls.problem_type(): cls for cls in error_classes() if cls is not RejectedFields}


def _headers(error: ServiceError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="handful"'
    if isinstance(error, Unavailable | RequestInProgress):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return headers


def _method_not_allowed(request: Request, routes: Sequence[BaseRoute]) -> Response:
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"]):
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    allowed = ", ".join(sorted(methods))
    error = MethodNotAllowed(f"this address answers {allowed or 'no method'} only")
    return problem_response(error, headers={"Allow": allowed})


def _from_framework(request: Request, error: HTTPException) -> ServiceError:
    if error.status_code == 404:
        return NotFound(f"there is nothing at {request.scope['path'][:200]!r}; /docs lists what there is")
    cls = _BY_STATUS.get(error.status_code, MalformedRequest if error.status_code < 500 else ServiceError)
    return cls(str(error.detail) if error.status_code < 500 else UNEXPECTED)


def _bad_field(error: Mapping[str, Any], known: Collection[str]) -> BadItem:
    location = list(error["loc"])
    if location[:1] == ["body"]:
        location = location[1:]
    if location[:1] and location[0] in _UNIONS:
        del location[1:2]
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
    return BadItem(pointer, str(error["type"]).replace("_", "-"), _sentence(error, known))


def _sentence(error: Mapping[str, Any], known: Collection[str]) -> str:
    """What is wrong, in words for those who have not read the code."""
    if error["type"] == "model_type":
        return "the body must be a JSON object, in braces"
    if error["type"] == "extra_forbidden" and known:
        return f"there is no such field; {did_you_mean(str(error['loc'][-1]), known)}"
    return str(error["msg"])


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The known name that is like this one, or all of them."""
    near = nearest_name(name, known)
    return f"did you mean {near}?" if near else f"there is {', '.join(sorted(known)) or 'none'}"
