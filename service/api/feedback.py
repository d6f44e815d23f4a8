"""Feedback: images with the label that is right become examples."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from service.api.bodies import feedback_body
from service.api.deps import ServicesDep, TaskId
from service.api.idempotency import MADE_HEADERS, REPLAYED_HEADERS, IdempotencyKey, Making, answered, json_answer
from service.api.life_schemas import StoredFeedback
from service.api.openapi import problems
from service.api.spool import Spool
from service.api.tasks import POLL_AFTER_S
from service.api.uploads import read_feedback
from service.errors import (
    BaseModelGone,
    EngineBusy,
    EngineNotReady,
    ExamplesNotKept,
    IdempotencyKeyReused,
    InvalidOption,
    InvalidRequest,
    InvalidSupportSet,
    RequestInProgress,
    StorageFull,
    TaskNotFound,
    UnsupportedMediaType,
    UploadRejected,
)
from service.persistence.records import Answer, Run
from service.usecases import views

router = APIRouter(prefix="/v1/tasks/{task}", tags=["examples"])


@router.post(
    "/feedback",
    status_code=201,
    response_model=StoredFeedback,
    summary="Tell how an image is rightly labelled",
    openapi_extra=feedback_body(),
    responses={
        201: {"description": "Stored, and adapted where that was asked for.", "headers": REPLAYED_HEADERS},
        202: {
            "model": StoredFeedback,
            "description": "Stored; not adapted within `wait`. Look at `Location`, the version.",
            "headers": MADE_HEADERS,
        },
        **problems(
            TaskNotFound,
            BaseModelGone,
            ExamplesNotKept,
            RequestInProgress,
            IdempotencyKeyReused,
            InvalidRequest,
            InvalidSupportSet,
            InvalidOption,
            UploadRejected,
            UnsupportedMediaType,
            EngineBusy,
            EngineNotReady,
            StorageFull,
        ),
    },
)
async def give_feedback(task_id: TaskId, request: Request, services: ServicesDep, key: IdempotencyKey) -> Response:
    """Store images that were predicted as examples with the label that is right; all or none.

    With `adapt=true` the task is adapted to them: images and version are stored together, or neither. The task
    answers as before until the version is ready.
    """
    with Spool() as spool:
        uploads, fields = await read_feedback(request, spool, services.limits)

        async def act(run: Run | None) -> Answer:
            stored, is_over = await services.feedback.give(
                task_id, uploads, adapt=fields.adapt, wait_s=fields.wait, run=run
            )
            return _answer(task_id, stored, is_over=is_over)

        async def recall(created: tuple[str, ...]) -> Answer:
            number, ids = (int(created[0]), created[1:]) if fields.adapt else (None, created)
            stored = await services.feedback.stored(task_id, [UUID(example) for example in ids], number)
            is_over = number is None or (await services.tasks.version(task_id, number)).state in {"ready", "failed"}
            return _answer(task_id, stored, is_over=is_over)

        making = Making(f"POST /v1/tasks/{task_id}/feedback", fields.adapt, act, recall, uploads)
        return await answered(making, key, services.retries, max_file_bytes=services.limits.file_bytes)


def _answer(task_id: UUID, stored: views.FeedbackView, *, is_over: bool) -> Answer:
    if is_over:
        return json_answer(StoredFeedback, stored)
    headers = {"Location": f"/v1/tasks/{task_id}/versions/{stored.version}", "Retry-After": POLL_AFTER_S}
    return json_answer(StoredFeedback, stored, status=202, headers=headers)
