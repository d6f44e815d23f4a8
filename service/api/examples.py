"""The examples of a task: add, list, get the original image, remove."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request, Response

from service.api.bodies import examples_body
from service.api.deps import Cursor, ExampleId, Limit, ServicesDep, TaskId
from service.api.idempotency import REPLAYED_HEADERS, IdempotencyKey, Making, answered, json_answer
from service.api.openapi import problems
from service.api.schemas import Example, Page, StoredExamples
from service.api.spool import Spool
from service.api.uploads import read_examples
from service.errors import (
    ArtifactDamaged,
    ArtifactMissing,
    EngineBusy,
    ExampleNotFound,
    ExamplesNotKept,
    IdempotencyKeyReused,
    InvalidRequest,
    InvalidSupportSet,
    OriginalNotKept,
    RequestInProgress,
    StorageFull,
    TaskNotFound,
    UnsupportedMediaType,
    UploadRejected,
)
from service.persistence.records import Answer, Run
from service.usecases import views

_EXTENSIONS: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/tiff": "tif",
}
_IMAGE: Final = {"type": "string", "format": "binary"}

router = APIRouter(prefix="/v1/tasks/{task}/examples", tags=["examples"])


@router.post(
    "",
    status_code=201,
    response_model=StoredExamples,
    summary="Add labelled images",
    openapi_extra=examples_body(),
    responses={
        201: {"description": "Stored.", "headers": REPLAYED_HEADERS},
        **problems(
            TaskNotFound,
            ExamplesNotKept,
            RequestInProgress,
            IdempotencyKeyReused,
            InvalidRequest,
            InvalidSupportSet,
            UploadRejected,
            UnsupportedMediaType,
            EngineBusy,
            StorageFull,
        ),
    },
)
async def add_examples(task_id: TaskId, request: Request, services: ServicesDep, key: IdempotencyKey) -> Response:
    """Store further examples, all or none. The task answers as before until it is adapted again."""

    async def act(run: Run | None) -> Answer:
        return _answer(await services.tasks.add_examples(task_id, uploads, run=run))

    async def recall(created: tuple[str, ...]) -> Answer:
        return _answer(await services.tasks.stored_examples(task_id, [UUID(example) for example in created]))

    with Spool() as spool:
        uploads = await read_examples(request, spool, services.limits)
        making = Making(f"POST /v1/tasks/{task_id}/examples", None, act, recall, uploads)
        return await answered(making, key, services.retries, max_file_bytes=services.limits.file_bytes)


@router.get("", response_model=Page[Example], summary="List examples", responses=problems(TaskNotFound, InvalidRequest))
async def list_examples(
    task_id: TaskId, services: ServicesDep, limit: Limit = 50, cursor: Cursor = None
) -> views.Page[views.ExampleView]:
    """Oldest first."""
    return await services.tasks.examples(task_id, limit=limit, cursor=cursor)


@router.get(
    "/{example}",
    response_class=Response,
    summary="Get the original image",
    responses={
        200: {"description": "The bytes that were uploaded", "content": {"image/*": {"schema": _IMAGE}}},
        **problems(TaskNotFound, ExampleNotFound, OriginalNotKept, ArtifactMissing, ArtifactDamaged),
    },
)
async def get_example(task_id: TaskId, example_id: ExampleId, services: ServicesDep) -> Response:
    """The bytes that were uploaded, with the media type that they have."""
    data, media_type = await services.tasks.example_bytes(task_id, example_id)
    extension = _EXTENSIONS.get(media_type, "bin")
    headers = {
        "Content-Disposition": f'inline; filename="{example_id}.{extension}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=86400",
    }
    known = media_type if media_type in _EXTENSIONS else "application/octet-stream"
    return Response(data, media_type=known, headers=headers)


@router.delete(
    "/{example}",
    status_code=204,
    summary="Remove an example",
    responses=problems(TaskNotFound, ExampleNotFound),
)
async def delete_example(task_id: TaskId, example_id: ExampleId, services: ServicesDep) -> None:
    """Versions that were adapted on it stay as they are; the next one does without it."""
    await services.tasks.delete_example(task_id, example_id)


def _answer(stored: Sequence[views.ExampleView]) -> Answer:
    return json_answer(StoredExamples, StoredExamples(items=tuple(map(Example.model_validate, stored))))
