"""The versions of a task: adapt again, list, look at."""

from fastapi import APIRouter, Request, Response

from service.api.deps import Cursor, Limit, ServicesDep, TaskId, VersionNumber
from service.api.openapi import json_body, problems
from service.api.schemas import AdaptBody, Page, Version
from service.api.tasks import POLL_AFTER_S
from service.api.uploads import read_json
from service.errors import (
    BaseModelGone,
    EngineBusy,
    EngineNotReady,
    InvalidOption,
    InvalidRequest,
    InvalidSupportSet,
    TaskNotFound,
    UnknownLearner,
    UnsupportedMediaType,
    VersionNotFound,
)
from service.usecases import views

router = APIRouter(prefix="/v1/tasks/{task}", tags=["versions"])


@router.post(
    "/adapt",
    status_code=201,
    response_model=Version,
    summary="Adapt a task to its present examples",
    openapi_extra=json_body(AdaptBody, {"learner": "anil", "steps": 5, "wait": 10}),
    responses={
        202: {"model": Version, "description": "Not finished within `wait`. Look at `Location` again."},
        **problems(
            TaskNotFound,
            BaseModelGone,
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
async def adapt_task(task_id: TaskId, request: Request, response: Response, services: ServicesDep) -> views.VersionView:
    """Make a new version; the one before answers until the new one is ready. All of the body is optional."""
    body = await read_json(request, AdaptBody)
    version, is_finished = await services.tasks.adapt(
        task_id, wait_s=body.wait, learner=body.learner, steps=body.steps, lr=body.lr
    )
    if not is_finished:
        response.status_code = 202
        response.headers["Retry-After"] = POLL_AFTER_S
    response.headers["Location"] = f"/v1/tasks/{task_id}/versions/{version.number}"
    return version


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
