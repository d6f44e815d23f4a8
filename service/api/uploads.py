"""Requests with images, parsed: forms, archives and raw bodies become uploads for the use cases.

A field that is sent twice, as the wrong kind of part, or under a name that is not known, is told, not guessed.
"""

import asyncio
import json
from collections.abc import Collection
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from service.api.archives import read_archive
from service.api.evaluation_schemas import EvaluationFields
from service.api.forms import Form, parse_form
from service.api.life_schemas import FeedbackFields, PoolFields
from service.api.problems import RejectedFields, validation_problem
from service.api.schemas import NewTaskFields
from service.api.spool import FilePart, Spool
from service.errors import (
    BadItem,
    ImageTooLarge,
    InvalidRequest,
    MalformedRequest,
    RequestTooLarge,
    UnsupportedMediaType,
)
from service.usecases.limits import Limits
from service.usecases.new_tasks import NewTask
from service.usecases.uploads import LabelledUpload, Upload
from service.wording import counted

FORM: Final = "multipart/form-data"
JSON: Final = "application/json"
MAX_JSON_BYTES: Final = 2**20
_OTHER_FIELDS: Final = 32
_SCALARS: Final = frozenset(
    name for model in (NewTaskFields, EvaluationFields, FeedbackFields, PoolFields) for name in model.model_fields
)
_NEW_TASK: Final = frozenset(NewTaskFields.model_fields)
_FILES: Final = frozenset({"files", "archive"})
_REPEATED: Final = frozenset({"labels", "groups"})

Body = TypeVar("Body", bound=BaseModel)


def media_type(request: Request) -> str:
    """The media type of the body without its parameters, in lower case; empty if none was sent."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_new_task(request: Request, spool: Spool, limits: Limits) -> tuple[NewTask, float]:
    """A form with images as a new task, and the seconds that the client waits for it."""
    form = await _support_form(request, spool, limits)
    fields = validated(NewTaskFields, _scalars(form, known=_NEW_TASK))
    return fields.new_task(await _labelled_uploads(form, limits)), fields.wait


async def read_examples(request: Request, spool: Spool, limits: Limits) -> tuple[LabelledUpload, ...]:
    """A form with images and no other field."""
    form = await _support_form(request, spool, limits)
    _scalars(form, known=())
    return await _some_uploads(form, limits)


async def read_query_set(
    request: Request, spool: Spool, limits: Limits
) -> tuple[tuple[LabelledUpload, ...], EvaluationFields]:
    """A form with images to evaluate on, and how."""
    form = await _support_form(request, spool, limits)
    if any(name == "groups" for name, _ in form.fields):
        raise _rejected("/groups", "unknown-field", "there is no field 'groups' here")
    fields = validated(EvaluationFields, _scalars(form, known=EvaluationFields.model_fields))
    return await _some_uploads(form, limits), fields


async def read_feedback(
    request: Request, spool: Spool, limits: Limits
) -> tuple[tuple[LabelledUpload, ...], FeedbackFields]:
    """A form with images that are rightly labelled, and what to do with them."""
    form = await _support_form(request, spool, limits)
    fields = validated(FeedbackFields, _scalars(form, known=FeedbackFields.model_fields))
    return await _some_uploads(form, limits), fields


async def read_pool(request: Request, spool: Spool, limits: Limits) -> tuple[tuple[Upload, ...], PoolFields]:
    """A form with unlabelled images, and how many of them to suggest."""
    form = await _support_form(request, spool, limits, parts="'files'")
    _check_files(form, names=("files",))
    fields = validated(PoolFields, _scalars(form, known=PoolFields.model_fields, repeated=()))
    if not form.files:
        raise _rejected("/files", "missing", "the form has no 'files'")
    return tuple(_upload(part) for part in form.files), fields


async def read_images(request: Request, spool: Spool, limits: Limits) -> tuple[Upload, ...]:
    """The images to predict: the raw body, or the `files` of a form."""
    kind = media_type(request)
    if kind == FORM:
        form = await _read_form(request, spool, max_files=limits.prediction_images, max_fields=_OTHER_FIELDS)
        _check_files(form, names=("files",))
        _scalars(form, known=(), repeated=())
        if not form.files:
            raise _rejected("/files", "missing", "the form has no 'files'")
        return tuple(_upload(part) for part in form.files)
    if kind and kind != "application/octet-stream" and not kind.startswith("image/"):
        raise UnsupportedMediaType(
            f"{kind[:100]!r} is no image; send one image as image/* or application/octet-stream, or a form of 'files'"
        )
    await _spool_body(request, spool, limits.file_bytes)
    return (Upload(None, spool.size_bytes, lambda: spool.read(0, spool.size_bytes)),)


async def read_json(request: Request, model: type[Body]) -> Body:
    """The body, JSON, as the model; no body at all is an empty object.

    Raises:
        UnsupportedMediaType: it is of another type.
        RequestTooLarge: it is larger than any JSON that is read here.
        MalformedRequest: it is no JSON, or is nested too deeply.
        RejectedFields: something in it cannot be right.
    """
    data = await _read_small_body(request)
    if not data:
        return validated(model, {})
    kind = media_type(request)
    if kind != JSON:
        raise UnsupportedMediaType(f"{_named(kind)} is not read here; send {JSON}")
    return validated(model, _parse_json(data, "the body"))


def validated(model: type[Body], values: Any) -> Body:  # noqa: ANN401  # JSON
    """The values as the model.

    Raises:
        RejectedFields: something in it cannot be right.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        raise validation_problem(errors, model.model_fields) from None


async def _support_form(request: Request, spool: Spool, limits: Limits, *, parts: str = "'files' and 'labels'") -> Form:
    kind = media_type(request)
    if kind != FORM:
        raise UnsupportedMediaType(f"{_named(kind)} is not read here; send {FORM} with {parts}")
    max_fields = len(_REPEATED) * limits.support_images + _OTHER_FIELDS
    return await _read_form(request, spool, max_files=limits.support_images, max_fields=max_fields)


async def _read_form(request: Request, spool: Spool, *, max_files: int, max_fields: int) -> Form:
    content_type = request.headers.get("content-type", "")
    return await parse_form(request.stream(), content_type, spool, max_files=max_files, max_fields=max_fields)


async def _spool_body(request: Request, spool: Spool, max_bytes: int) -> None:
    async for chunk in request.stream():
        if spool.size_bytes + len(chunk) > max_bytes:
            raise ImageTooLarge(f"the image has more than {max_bytes} bytes")
        await spool.write(chunk)


async def _read_small_body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_JSON_BYTES:
            raise RequestTooLarge(f"the JSON has more than {MAX_JSON_BYTES} bytes")
    return bytes(data)


async def _some_uploads(form: Form, limits: Limits) -> tuple[LabelledUpload, ...]:
    uploads = await _labelled_uploads(form, limits)
    if not uploads:
        raise _rejected("/files", "missing", "the form has no images: send 'files' with 'labels', or an 'archive'")
    return uploads


async def _labelled_uploads(form: Form, limits: Limits) -> tuple[LabelledUpload, ...]:
    _check_files(form, names=_FILES)
    archives = [part for part in form.files if part.name == "archive"]
    files = [part for part in form.files if part.name == "files"]
    labels = [value for name, value in form.fields if name == "labels"]
    groups = [value for name, value in form.fields if name == "groups"]
    if archives:
        if len(archives) > 1 or files or labels or groups:
            raise InvalidRequest("send one 'archive', or 'files' with 'labels', not both")
        return await asyncio.to_thread(read_archive, archives[0], limits)
    if len(files) != len(labels):
        counts = f"{counted(len(files), 'file')} but {counted(len(labels), 'label')}"
        detail = f"{counts}; send one label for each file, in the same order"
        raise _rejected("/labels", "labels-mismatch", detail)
    if groups and len(groups) != len(files):
        counts = f"{counted(len(files), 'file')} but {counted(len(groups), 'group')}"
        detail = f"{counts}; send one for each file in the same order, or none"
        raise _rejected("/groups", "groups-mismatch", detail)
    return tuple(
        LabelledUpload(label, _upload(part), f"/files/{index}", group or None)
        for index, (part, label, group) in enumerate(zip(files, labels, groups or [""] * len(files), strict=True))
    )


def _check_files(form: Form, *, names: Collection[str]) -> None:
    """Refuse files under other names."""
    for part in form.files:
        if part.name in _SCALARS | _REPEATED:
            raise _rejected(f"/{part.name}", "not-a-field", f"{part.name!r} is a field; send it without a filename")
        if part.name not in names:
            known = " or ".join(repr(name) for name in sorted(names))
            raise _rejected(
                "/" + part.name[:100], "unknown-field", f"there is no file {part.name[:100]!r}, only {known}"
            )


def _scalars(form: Form, *, known: Collection[str], repeated: Collection[str] = _REPEATED) -> dict[str, Any]:
    """The fields that are sent once, by name; empty ones count as not sent."""
    values: dict[str, Any] = {}
    for name, text in form.fields:
        if name in repeated:
            continue
        if name in _FILES:
            raise _rejected(f"/{name}", "not-a-file", f"{name!r} is a file; send it with a filename")
        if name not in known:
            raise _rejected(f"/{name[:100]}", "unknown-field", f"there is no field {name[:100]!r} here")
        if name in values:
            raise _rejected(f"/{name}", "sent-twice", f"the field {name!r} is sent more than once")
        if text.strip():
            values[name] = _structured(name, text.strip())
    return values


def _structured(name: str, text: str) -> Any:  # noqa: ANN401  # JSON
    if name == "metadata" or (name == "prior" and text.startswith("{")):
        return _parse_json(text, f"the field {name!r}")
    return text


def _parse_json(data: bytes | str, what: str) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(data)
    except RecursionError as error:
        raise MalformedRequest(f"{what} is JSON nested too deeply") from error
    except ValueError as error:
        raise MalformedRequest(f"{what} is not JSON") from error


def _named(kind: str) -> str:
    return repr(kind[:100]) if kind else "a body without a Content-Type"


def _upload(part: FilePart) -> Upload:
    return Upload(part.filename, part.size_bytes, part.read)


def _rejected(pointer: str, code: str, detail: str) -> RejectedFields:
    return RejectedFields(detail, (BadItem(pointer, code, detail),))
