"""The life of a task: change it, let another version serve."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from service.api.bodies import json_body
from service.api.deps import ServicesDep, TaskId, VersionNumber
from service.api.idempotency import REPLAYED_HEADERS, IdempotencyKey, Making, answered, json_answer
from service.api.life_schemas import UpdateTaskBody
from service.api.openapi import problems
from service.api.schemas import Task
from service.api.uploads import read_json
from service.errors import (
    BaseModelGone,
    IdempotencyKeyReused,
    InvalidRequest,
    RequestInProgress,
    TaskNotFound,
    TaskNotReady,
    UnsupportedMediaType,
    VersionNotFound,
)
from service.persistence.records import Answer, Run
from service.usecases import views

_UPDATE = {"name": "shapes", "metadata": {"line": "4", "shift": None}, "threshold": 0.6}

router = APIRouter(prefix="/v1/tasks/{task}", tags=["tasks"])


@router.patch(
    "",
    response_model=Task,
    summary="Change a task",
    openapi_extra=json_body(UpdateTaskBody, _UPDATE),
    responses=problems(TaskNotFound, InvalidRequest, UnsupportedMediaType),
)
async def update_task(task_id: TaskId, request: Request, services: ServicesDep) -> views.TaskView:
    """Set the name, the threshold, what is kept and for how long; merge metadata, as RFC 7396 merges.

    What is left out stays as it is.
    """
    body = await read_json(request, UpdateTaskBody)
    return await services.life.update(task_id, body.update())


@router.post(
    "/versions/{number}/activate",
    response_model=Task,
    summary="Let another version answer",
    responses={
        200: {"description": "It answers from now on.", "headers": REPLAYED_HEADERS},
        **problems(
            TaskNotFound,
            VersionNotFound,
            TaskNotReady,
            BaseModelGone,
            RequestInProgress,
            IdempotencyKeyReused,
            InvalidRequest,
        ),
    },
)
async def activate_version(
    task_id: TaskId, number: VersionNumber, services: ServicesDep, key: IdempotencyKey
) -> Response:
    """Predictions come from this version until another one is activated, or a newer one becomes ready."""

    async def act(run: Run | None) -> Answer:
        return _answer(await services.life.activate(task_id, number, run=run))

    async def recall(_created: tuple[str, ...]) -> Answer:
        return _answer(await services.tasks.get(task_id))

    making = Making(_target(task_id, number), None, act, recall)
    return await answered(making, key, services.retries, max_file_bytes=services.limits.file_bytes)


def _target(task_id: UUID, number: int) -> str:
    return f"POST /v1/tasks/{task_id}/versions/{number}/activate"


def _answer(task: views.TaskView) -> Answer:
    return json_answer(Task, task, status=200)
