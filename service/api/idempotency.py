"""Requests that are safe to send again: `Idempotency-Key`, and answers as bytes that can be kept.

Two requests are the same if they ask for the same: method and address, parsed fields, labels, file names and file
bytes. Not the bytes of the body: a client library draws another form boundary for each try, and a zip that is packed
again has other times in it. `wait` is no part of it: how long a client listens changes nothing that is stored.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from service.api.problems import RejectedFields
from service.errors import BadItem, ServiceError
from service.persistence.records import Answer, KeyedRequest, Run
from service.usecases.retries import Retries
from service.usecases.uploads import LabelledUpload, Upload

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
REPLAYED_HEADERS: Final[Mapping[str, Any]] = {
    REPLAYED: {
        "description": f"`true` where the request of this `{HEADER}` was answered, or done, before",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
MADE_HEADERS: Final[Mapping[str, Any]] = {
    "Location": {
        "description": "the address of what was made",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    **REPLAYED_HEADERS,
}


async def idempotency_key(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            min_length=1,
            max_length=255,
            pattern="^[!-~]+$",
            description=(
                "a text of your own, new for each thing to be made (a UUID): the same request with the same key "
                "is done once, and gets the same answer for 24 hours"
            ),
        ),
    ] = None,
) -> str | None:
    """The key of the request, if it has one."""
    if len(request.headers.getlist(HEADER)) > 1:
        item = BadItem(f"/header/{HEADER}", "sent-twice", f"the header {HEADER} is sent more than once")
        raise RejectedFields(item.detail, (item,))
    return key


IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]


@dataclass(frozen=True, slots=True)
class Making:
    """A request that makes something.

    Attributes:
        target: its method and address.
        asked: what it asks for, as JSON, beside its images.
        act: does it; stores under the run, if there is one.
        recall: the answer by the ids of what was stored, where the process died before it could give one.
    """

    target: str
    asked: object
    act: Callable[[Run | None], Awaitable[Answer]]
    recall: Callable[[tuple[str, ...]], Awaitable[Answer]]
    uploads: Sequence[LabelledUpload] = ()


async def answered(making: Making, key: str | None, retries: Retries, *, max_file_bytes: int) -> Response:
    """The answer to a request that makes something; with a key, it is made once.

    Raises:
        IdempotencyKeyReused, RequestInProgress: as the use case says.
    """
    if key is None:
        return _response(await making.act(None))
    digest = await asyncio.to_thread(request_digest, making.asked, making.uploads, max_file_bytes)
    answer, is_replayed = await retries.once(KeyedRequest(key, making.target, digest), making.act, making.recall)
    return _response(answer, {REPLAYED: "true"} if is_replayed else {})


def json_answer(
    model: type[BaseModel], view: object, *, status: int = 201, headers: Mapping[str, str] | None = None
) -> Answer:
    """A view of the use cases as the body that the model documents."""
    body = model.model_validate(view).model_dump_json().encode()
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, body)


def request_digest(asked: object, uploads: Sequence[LabelledUpload], max_file_bytes: int) -> str:
    """SHA-256 of what a request asks for; reads the uploads, one at a time."""
    images = [
        [each.label, each.group, each.upload.filename, _file_digest(each.upload, max_file_bytes)]
        + ["left out"] * each.is_left_out
        for each in uploads
    ]
    return hashlib.sha256(json.dumps([asked, images], sort_keys=True).encode()).hexdigest()


def _file_digest(upload: Upload, max_bytes: int) -> str:
    """Digest of the bytes; of a file that will be refused anyway, next to nothing."""
    if upload.size_bytes > max_bytes:
        return f"{upload.size_bytes} bytes"
    try:
        return hashlib.sha256(upload.read()).hexdigest()
    except ServiceError as error:
        return error.problem_type()


def _response(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    return Response(answer.body, answer.status, {**answer.headers, **(headers or {})})
