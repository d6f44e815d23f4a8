"""The parts of the OpenAPI document that the framework cannot work out: problems, headers, links, keys.

What a body may be stands in `bodies`.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.problems import MEDIA_TYPE
from service.api.service_schemas import Problem
from service.errors import (
    Forbidden,
    InvalidRequest,
    MalformedRequest,
    RequestTooLarge,
    ServiceError,
    Unauthorized,
)

_ANYBODY: Final[tuple[type[ServiceError], ...]] = (MalformedRequest, Forbidden, RequestTooLarge, ServiceError)
_EVERYWHERE: Final[tuple[type[ServiceError], ...]] = (Unauthorized, InvalidRequest, *_ANYBODY)
_REF: Final = "#/components/schemas/"
_EXAMPLE_ID: Final = "0194c9b2e6c74a0b"
_SECONDS: Final = {"type": "integer", "minimum": 0}
_HEADERS: Final = {
    "X-Request-Id": {
        "description": "names this request in the service's log; one that the client sends is kept",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
    },
    "Retry-After": {"description": "seconds to wait", "required": True, "schema": _SECONDS},
    "WWW-Authenticate": {"description": "how to bring a key", "required": True, "schema": {"type": "string"}},
}
_HEADERS_OF: Final = {"202": ("Retry-After",), "401": ("WWW-Authenticate",), "503": ("Retry-After",)}
_OF_TASK: Final = (
    "get_task",
    "update_task",
    "delete_task",
    "add_examples",
    "list_examples",
    "adapt_task",
    "list_versions",
    "predict",
    "give_feedback",
    "suggest_images",
    "evaluate_task",
    "export_task",
)
_DESCRIPTION: Final = """\
Upload a handful of labelled images, get a classifier, ask it for labels.

Errors are RFC 9457 problem documents (`application/problem+json`): match on `type`, show `detail`. Every answer has an
`X-Request-Id`, which the service's log knows too.
"""


def problems(*classes: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The problem answers of an operation, those that every operation has included, for `responses=`."""
    by_status: dict[int, list[type[ServiceError]]] = {}
    for cls in (*classes, *_EVERYWHERE):
        by_status.setdefault(cls.status, []).append(cls)
    return {status: _problem_answer(by_status[status]) for status in sorted(by_status)}


def open_problems(*classes: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """As `problems`, for an operation outside the API: it asks nobody for a key, and takes any query."""
    told = {Unauthorized.status, InvalidRequest.status} - {cls.status for cls in classes}
    return {status: answer for status, answer in problems(*classes).items() if status not in told}


def install_openapi(app: FastAPI) -> None:
    """Make `/openapi.json` the framework's document with our parts in it."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]  # the way the framework documents


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    for operation in operations:
        _finish(operation["responses"])
        if "401" not in operation["responses"]:
            operation["security"] = []
    _link({operation["operationId"]: operation["responses"] for operation in operations})
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template=_REF + "{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    components["headers"] = _HEADERS
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    document["security"] = [{"bearer": []}, {"api_key": []}, {}]
    return document


def _problem_answer(classes: list[type[ServiceError]]) -> dict[str, Any]:
    unique: list[type[ServiceError]] = list(dict.fromkeys(classes))
    status: int = unique[0].status
    examples = {
        cls.problem_type(): {
            "value": {
                "type": f"/problems/{cls.problem_type()}",
                "title": cls.title(),
                "status": status,
                "detail": cls.title(),
                "request_id": _EXAMPLE_ID,
            }
        }
        for cls in unique
    }
    names = ", ".join(f"`{cls.problem_type()}`" for cls in unique)
    return {
        "description": f"{HTTPStatus(status).phrase}: {names}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}Problem"}, "examples": examples}},
    }


def _finish(responses: dict[str, Any]) -> None:
    """Take the framework's own problem out of the answers of an operation, and put the headers in."""
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
    for status, answer in responses.items():
        headers = answer.setdefault("headers", {})
        for name in ("X-Request-Id", *_HEADERS_OF.get(status, ())):
            headers[name] = {"$ref": f"#/components/headers/{name}"}


def _link(responses: dict[str, dict[str, Any]]) -> None:
    """Say which operations an answer has the ids for, by the operation that gives the answer."""
    task = {"task": "$response.body#/id"}
    inside = {"task": "$request.path.task"}
    for status in ("201", "202"):
        label = {"label": "$response.body#/classes/0/label"}
        of_task = [*_links(_OF_TASK, task), *_links(("update_class", "remove_class"), task | label)]
        responses["create_task"][status]["links"] = dict(of_task)
        number = {"number": "$response.body#/number"}
        responses["adapt_task"][status]["links"] = dict(
            _links(("get_version", "watch_version", "activate_version"), inside | number)
        )
    example = {"example": "$response.body#/items/0/id"}
    responses["add_examples"]["201"]["links"] = dict(
        _links(("get_example", "update_example", "delete_example"), inside | example)
    )
    model = {"base_model": "$response.body#/items/0/id"}
    responses["list_base_models"]["200"]["links"] = dict(_links(("get_base_model",), model))


def _links(operations: tuple[str, ...], parameters: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for operation in operations:
        yield operation, {"operationId": operation, "parameters": parameters}
