"""Tasks: create, list, look at, delete."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from service.api.bodies import new_task_body
from service.api.deps import Cursor, Limit, Services, ServicesDep, TaskId
from service.api.idempotency import MADE_HEADERS, IdempotencyKey, Making, answered, json_answer
from service.api.openapi import problems
from service.api.schemas import EmptyTaskBody, Page, Task
from service.api.spool import Spool
from service.api.uploads import JSON, media_type, read_json, read_new_task
from service.errors import (
    EngineBusy,
    EngineNotReady,
    IdempotencyKeyReused,
    InvalidOption,
    InvalidRequest,
    InvalidSupportSet,
    RequestInProgress,
    StorageFull,
    TaskNotFound,
    UnknownBaseModel,
    UnknownLearner,
    UnsupportedMediaType,
    UploadRejected,
)
from service.persistence.records import Answer, Run
from service.usecases import views
from service.usecases.new_tasks import NewTask

POLL_AFTER_S = "1"
METADATA_PREFIX = "metadata."
METADATA_PARAMETER = {
    "name": "metadata",
    "in": "query",
    "description": "only tasks that have these pairs; `metadata.KEY=VALUE` for each",
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "patternProperties": {"^metadata[.][A-Za-z0-9_-]{1,64}$": {"type": "string", "maxLength": 512}},
    },
    "example": {"metadata.line": "3"},
}

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])


@router.post(
    "",
    status_code=201,
    response_model=Task,
    summary="Create a task from labelled images",
    openapi_extra=new_task_body(),
    responses={
        201: {"description": "Stored, and adapted where there are examples.", "headers": MADE_HEADERS},
        202: {
            "model": Task,
            "description": "Stored; not adapted within `wait`. Look at `Location` again.",
            "headers": MADE_HEADERS,
        },
        **problems(
            RequestInProgress,
            IdempotencyKeyReused,
            InvalidRequest,
            InvalidSupportSet,
            UploadRejected,
            UnknownBaseModel,
            UnknownLearner,
            InvalidOption,
            UnsupportedMediaType,
            EngineBusy,
            EngineNotReady,
            StorageFull,
        ),
    },
)
async def create_task(request: Request, services: ServicesDep, key: IdempotencyKey) -> Response:
    """Store labelled images and adapt a base model to them, or store an empty task (JSON).

    Send `files` and `labels`, each repeated, in the same order; or `archive`, a zip of `label/file`. The answer is
    201 with a task that is `ready` (or `failed`, with the problem in its version), or 202 if that takes longer than
    `wait` seconds: the task is adapted all the same. All or nothing is stored.
    """
    max_file_bytes = services.limits.file_bytes
    if media_type(request) == JSON:
        body = await read_json(request, EmptyTaskBody)
        making = _making_empty(body.new_task(), services)
        return await answered(making, key, services.retries, max_file_bytes=max_file_bytes)
    with Spool() as spool:
        new, wait_s = await read_new_task(request, spool, services.limits)
        return await answered(_making(new, wait_s, services), key, services.retries, max_file_bytes=max_file_bytes)


@router.get(
    "",
    response_model=Page[Task],
    summary="List tasks",
    openapi_extra={"parameters": [METADATA_PARAMETER]},
    responses=problems(InvalidRequest),
)
async def list_tasks(
    request: Request,
    services: ServicesDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[views.TaskState | None, Query(description="only tasks in this state")] = None,
) -> views.Page[views.TaskView]:
    """Newest first. `metadata.KEY=VALUE` in the query, for any key, leaves only tasks that have that pair."""
    metadata = {
        name.removeprefix(METADATA_PREFIX): value
        for name, value in request.query_params.multi_items()
        if name.startswith(METADATA_PREFIX)
    }
    return await services.tasks.list(limit=limit, cursor=cursor, state=state, metadata=metadata or None)


@router.get("/{task}", response_model=Task, summary="Look at a task", responses=problems(TaskNotFound))
async def get_task(task_id: TaskId, services: ServicesDep) -> views.TaskView:
    """One task."""
    return await services.tasks.get(task_id)


@router.delete("/{task}", status_code=204, summary="Delete a task", responses=problems(TaskNotFound))
async def delete_task(task_id: TaskId, services: ServicesDep) -> None:
    """Remove a task with its examples and versions; from then on it is not found."""
    await services.tasks.delete(task_id)


def _making(new: NewTask, wait_s: float, services: Services) -> Making:
    async def act(run: Run | None) -> Answer:
        task, is_adapted = await services.tasks.create(new, wait_s=wait_s, run=run)
        return _answer(task, is_adapted=is_adapted)

    async def recall(created: tuple[str, ...]) -> Answer:
        task = await services.tasks.get(UUID(created[0]))
        return _answer(task, is_adapted=task.pending_version is None)

    return Making("POST /v1/tasks", _asked(new, "examples"), act, recall, new.uploads)


def _making_empty(new: NewTask, services: Services) -> Making:
    async def act(run: Run | None) -> Answer:
        return _answer(await services.tasks.create_empty(new, run=run), is_adapted=True)

    async def recall(created: tuple[str, ...]) -> Answer:
        return _answer(await services.tasks.get(UUID(created[0])), is_adapted=True)

    return Making("POST /v1/tasks", _asked(new, "empty"), act, recall)


def _asked(new: NewTask, kind: str) -> list[Any]:
    kept = [new.store, new.threshold, new.keep_s]
    return [kind, new.name, new.base_model, new.learner, new.prior, new.metadata, *kept]


def _answer(task: views.TaskView, *, is_adapted: bool) -> Answer:
    location = {"Location": f"/v1/tasks/{task.id}"}
    if is_adapted:
        return json_answer(Task, task, headers=location)
    return json_answer(Task, task, status=202, headers={**location, "Retry-After": POLL_AFTER_S})
