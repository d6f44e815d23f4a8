"""The parts of the OpenAPI document that the framework cannot work out: problems, bodies of several kinds, keys."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.api.problems import MEDIA_TYPE
from service.api.schemas import EmptyTaskBody, NewTaskFields, Problem
from service.errors import (
    Forbidden,
    MalformedRequest,
    RequestTooLarge,
    ServiceError,
    Unauthorized,
)

_EVERYWHERE: Final[tuple[type[ServiceError], ...]] = (
    MalformedRequest,
    Unauthorized,
    Forbidden,
    RequestTooLarge,
    ServiceError,
)
_REF: Final = "#/components/schemas/"
_EXAMPLE_ID: Final = "0194c9b2e6c74a0b"
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


def new_task_body() -> dict[str, Any]:
    """`openapi_extra` of the call that creates a task: a form, or JSON for a task without examples."""
    fields = dict(_schema(NewTaskFields)["properties"])
    for name in ("prior", "metadata"):
        fields[name] = {"type": "string", "description": f"{fields[name].get('description', '')}; JSON"}
    fields["prior"]["example"] = "balanced"
    fields["metadata"]["example"] = '{"line": "3"}'
    return _body(
        {
            "multipart/form-data": {"schema": _form_schema(fields)},
            "application/json": {"schema": _schema(EmptyTaskBody), "example": {"name": "screws"}},
        }
    )


def examples_body() -> dict[str, Any]:
    """`openapi_extra` of the call that adds examples."""
    return _body({"multipart/form-data": {"schema": _form_schema({})}})


def images_body() -> dict[str, Any]:
    """`openapi_extra` of a prediction: one image as the body, or a form of several."""
    image = {"schema": {"type": "string", "format": "binary"}}
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    form = {"schema": {"type": "object", "required": ["files"], "properties": {"files": files}}}
    return _body({"image/*": image, "application/octet-stream": image, "multipart/form-data": form})


def json_body(model: type[BaseModel], example: Mapping[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a call whose JSON body may be left out."""
    content = {"application/json": {"schema": _schema(model), "example": dict(example)}}
    return {"requestBody": {"required": False, "content": content}}


def install_openapi(app: FastAPI) -> None:
    """Make `/openapi.json` the framework's document with our parts in it."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]  # the way the framework documents


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    for operations in document["paths"].values():
        for operation in operations.values():
            default = operation["responses"].get("422", {})
            if "application/json" in default.get("content", {}):
                del operation["responses"]["422"]
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template=_REF + "{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
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


def _form_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    return {
        "type": "object",
        "properties": {
            "files": {"type": "array", "items": binary, "description": "images"},
            "labels": {
                "type": "array",
                "items": {"type": "string"},
                "description": "the class of each file, in the order of `files`",
                "example": ["screw", "washer"],
            },
            "archive": binary | {"description": "instead of both: a zip of `label/file`"},
            **fields,
        },
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    assert "$defs" not in schema, "a body in openapi_extra cannot resolve references"
    return schema


def _body(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": dict(content)}}
