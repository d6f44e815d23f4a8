"""Request bodies as the OpenAPI document shows them: of several kinds, and with examples that can be sent as they are.

An example holds whole images. They are TIFFs, the one format here whose bytes can all be ASCII, so that a JSON string
can have them.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from service.api.evaluation_schemas import EvaluationFields
from service.api.life_schemas import FeedbackFields, PoolFields
from service.api.schemas import EmptyTaskBody, NewTaskFields

_BINARY: Final = {"type": "string", "format": "binary"}
_LABEL: Final = {"type": "string", "minLength": 1, "maxLength": 200}
_RING: Final = (0b00111100, 0b01100110, 0b01000010, 0b01000010, 0b01000010, 0b01100110, 0b00111100, 0)
_CROSS: Final = (0b01000001, 0b00100010, 0b00010100, 0b00001000, 0b00010100, 0b00100010, 0b01000001, 0)
_TIFF_SHORT: Final = 3


def new_task_body() -> dict[str, Any]:
    """`openapi_extra` of the call that creates a task: a form, or JSON for a task without examples."""
    fields = {name: _form_field(schema) for name, schema in _schema(NewTaskFields)["properties"].items()}
    example = _support_example() | {"name": "shapes", "metadata": '{"line": "3"}', "wait": 30}
    empty = {"name": "screws", "prior": {"good": 20, "bent": 1}, "metadata": {"line": "3"}}
    return _body(
        {
            "multipart/form-data": {"schema": _support_form(fields), "examples": _named("images", example)},
            "application/json": {"schema": _schema(EmptyTaskBody), "examples": _named("empty task", empty)},
        }
    )


def examples_body() -> dict[str, Any]:
    """`openapi_extra` of the call that adds examples."""
    form = {"schema": _support_form({}), "examples": _named("images", _support_example())}
    return _body({"multipart/form-data": form})


def query_set_body() -> dict[str, Any]:
    """`openapi_extra` of an evaluation: a form of labelled images, or nothing."""
    fields = _schema(EvaluationFields)["properties"]
    example = _support_example() | {"unknown_labels": "count"}
    body = _body(
        {
            "multipart/form-data": {
                "schema": _support_form(fields, is_support=False),
                "examples": _named("images", example),
            }
        }
    )
    body["requestBody"]["required"] = False
    return body


def feedback_body() -> dict[str, Any]:
    """`openapi_extra` of feedback: labelled images and what to do with them."""
    fields = {name: _form_field(schema) for name, schema in _schema(FeedbackFields)["properties"].items()}
    example = _support_example() | {"adapt": "true", "wait": 30}
    return _body({"multipart/form-data": {"schema": _support_form(fields), "examples": _named("images", example)}})


def pool_body() -> dict[str, Any]:
    """`openapi_extra` of a pool of unlabelled images."""
    files = {"type": "array", "items": _BINARY, "minItems": 1, "description": "images without labels"}
    fields = {name: _form_field(schema) for name, schema in _schema(PoolFields)["properties"].items()}
    form = {"type": "object", "required": ["files"], "properties": {"files": files, **fields}}
    example = {"files": [_drawing(_RING), _drawing(_CROSS)], "n": 1}
    content = {"schema": form | {"additionalProperties": False}, "examples": _named("images", example)}
    return _body({"multipart/form-data": content})


def images_body() -> dict[str, Any]:
    """`openapi_extra` of a prediction: one image as the body, or a form of several."""
    image = {"schema": _BINARY, "examples": _named("image", _drawing(_RING))}
    files = {
        "type": "array",
        "items": _BINARY,
        "minItems": 1,
        "description": "images, at most as many as /v1/limits says",
    }
    form = {"type": "object", "required": ["files"], "additionalProperties": False, "properties": {"files": files}}
    example = {"files": [_drawing(_RING), _drawing(_CROSS)]}
    return _body(
        {
            "image/*": image,
            "application/octet-stream": image,
            "multipart/form-data": {"schema": form, "examples": _named("images", example)},
        }
    )


def json_body(model: type[BaseModel], example: Mapping[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a call whose JSON body may be left out."""
    content = {"application/json": {"schema": _schema(model), "examples": _named("options", dict(example))}}
    return {"requestBody": {"required": False, "content": content}}


def _support_form(fields: Mapping[str, Any], *, is_support: bool = True) -> dict[str, Any]:
    files = {"type": "array", "items": _BINARY, "minItems": 1, "description": "images"}
    labels = {"type": "array", "items": _LABEL, "minItems": 1, "description": "the class of each of `files`, in order"}
    groups = {
        "type": "array",
        "items": {"type": "string", "maxLength": 200},
        "minItems": 1,
        "description": "what each of `files` belongs to (a burst, a slide, a part), in order; an empty one to nothing",
    }
    archive = _BINARY | {
        "description": "instead of both: a zip of `label/file`; with `handful.json`, as the page saves it, groups too"
    }
    grouped = {"groups": groups} if is_support else {}
    return {
        "type": "object",
        "properties": {"files": files, "labels": labels, "archive": archive, **grouped, **fields},
        "anyOf": [{"required": ["files", "labels"]}, {"required": ["archive"]}],
        "additionalProperties": False,
    }


def _form_field(schema: Mapping[str, Any]) -> dict[str, Any]:
    """How a field of JSON looks as a text in a form: nothing is null, and what has a structure is JSON in the text."""
    told = {key: value for key, value in schema.items() if key in {"description", "title"}}
    if "oneOf" in schema or schema.get("type") == "object":
        return {"type": "string", "contentMediaType": "application/json", **told}
    if "anyOf" in schema:
        return {**schema["anyOf"][0], **told}
    return dict(schema)


def _support_example() -> dict[str, Any]:
    return {"files": [_drawing(_RING), _drawing(_CROSS)], "labels": ["ring", "cross"]}


def _drawing(rows: Sequence[int]) -> str:
    """An image of 8 columns as the text of an uncompressed TIFF: a bit a pixel, 1 is black, the first column white."""
    tags = [
        (256, 8),  # width
        (257, len(rows)),  # height
        (258, 1),  # bits a pixel
        (259, 1),  # not compressed
        (262, 0),  # 0 is white
        (273, 0),  # where the pixels start; set below
        (277, 1),  # values a pixel
        (278, len(rows)),  # rows of the one strip
        (279, len(rows)),  # its bytes
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = [struct.pack("<HHIHH", tag, _TIFF_SHORT, 1, start if tag == 273 else value, 0) for tag, value in tags]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return b"".join([head, *entries, bytes(4), bytes(rows)]).decode("ascii")


def _named(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    return {name: {"value": value}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    assert "$defs" not in schema, "a body in openapi_extra cannot resolve references"
    return schema


def _body(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": dict(content)}}
