"""The versions of a task: adapt again, list, look at."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from service.api.bodies import json_body
from service.api.deps import Cursor, Limit, ServicesDep, TaskId, VersionNumber
from service.api.idempotency import MADE_HEADERS, IdempotencyKey, Making, answered, json_answer
from service.api.openapi import problems
from service.api.schemas import AdaptBody, Page, Version
from service.api.tasks import POLL_AFTER_S
from service.api.uploads import read_json
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
    TaskNotFound,
    UnknownLearner,
    UnsupportedMediaType,
    VersionNotFound,
)
from service.persistence.records import Answer, Run
from service.usecases import views

router = APIRouter(prefix="/v1/tasks/{task}", tags=["versions"])


@router.post(
    "/adapt",
    status_code=201,
    response_model=Version,
    summary="Adapt a task to its present examples",
    openapi_extra=json_body(AdaptBody, {"learner": "anil", "steps": 5, "wait": 10}),
    responses={
        201: {"description": "Adapted.", "headers": MADE_HEADERS},
        202: {
            "model": Version,
            "description": "Not finished within `wait`. Look at `Location` again.",
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
            UnknownLearner,
            InvalidOption,
            UnsupportedMediaType,
            EngineBusy,
            EngineNotReady,
        ),
    },
)
async def adapt_task(task_id: TaskId, request: Request, services: ServicesDep, key: IdempotencyKey) -> Response:
    """Make a new version; the one before answers until the new one is ready. All of the body is optional."""
    body = await read_json(request, AdaptBody)

    async def act(run: Run | None) -> Answer:
        version, is_finished = await services.tasks.adapt(
            task_id,
            wait_s=body.wait,
            learner=body.learner,
            steps=body.steps,
            lr=body.lr,
            prior=body.prior,
            activate=body.activate,
            run=run,
        )
        return _answer(task_id, version, is_finished=is_finished)

    async def recall(created: tuple[str, ...]) -> Answer:
        version = await services.tasks.version(task_id, int(created[0]))
        return _answer(task_id, version, is_finished=version.state in {"ready", "failed"})

    asked = [body.learner, body.steps, body.lr, body.prior, body.activate]
    making = Making(f"POST /v1/tasks/{task_id}/adapt", asked, act, recall)
    return await answered(making, key, services.retries, max_file_bytes=services.limits.file_bytes)


@router.get(
    "/versions", response_model=Page[Version], summary="List versions", responses=problems(TaskNotFound, InvalidRequest)
)
async def list_versions(
    task_id: TaskId, services: ServicesDep, limit: Limit = 50, cursor: Cursor = None
) -> views.Page[views.VersionView]:
    """Newest first."""
    return await services.tasks.versions(task_id, limit=limit, cursor=cursor)


@router.get(
    "/versions/{number}",
    response_model=Version,
    summary="Look at a version",
    responses=problems(TaskNotFound, VersionNotFound),
)
async def get_version(task_id: TaskId, number: VersionNumber, services: ServicesDep) -> views.VersionView:
    """One adaptation with its settings, timings and report."""
    return await services.tasks.version(task_id, number)


def _answer(task_id: UUID, version: views.VersionView, *, is_finished: bool) -> Answer:
    location = {"Location": f"/v1/tasks/{task_id}/versions/{version.number}"}
    if is_finished:
        return json_answer(Version, version, headers=location)
    return json_answer(Version, version, status=202, headers={**location, "Retry-After": POLL_AFTER_S})
