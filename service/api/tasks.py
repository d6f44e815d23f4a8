"""Tasks: create, list, look at, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.deps import Cursor, Limit, ServicesDep, TaskId
from service.api.openapi import new_task_body, problems
from service.api.schemas import EmptyTaskBody, Page, Task
from service.api.spool import Spool
from service.api.uploads import JSON, media_type, read_json, read_new_task
from service.errors import (
    EngineBusy,
    EngineNotReady,
    InvalidOption,
    InvalidRequest,
    InvalidSupportSet,
    StorageFull,
    TaskNotFound,
    UnknownBaseModel,
    UnknownLearner,
    UnsupportedMediaType,
    UploadRejected,
)
from service.usecases import views

POLL_AFTER_S = "1"
METADATA_PREFIX = "metadata."

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])


@router.post(
    "",
    status_code=201,
    response_model=Task,
    summary="Create a task from labelled images",
    openapi_extra=new_task_body(),
    responses={
        202: {"model": Task, "description": "Stored; not adapted within `wait`. Look at `Location` again."},
        **problems(
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
async def create_task(request: Request, response: Response, services: ServicesDep) -> views.TaskView:
    """Store labelled images and adapt a base model to them, or store an empty task (JSON).

    Send `files` and `labels`, each repeated, in the same order; or `archive`, a zip of `label/file`. The answer is
    201 with a task that is `ready` (or `failed`, with the problem in its version), or 202 if that takes longer than
    `wait` seconds: the task is adapted all the same. All or nothing is stored.
    """
    if media_type(request) == JSON:
        body = await read_json(request, EmptyTaskBody)
        task = await services.tasks.create_empty(body.new_task())
    else:
        with Spool() as spool:
            new, wait_s = await read_new_task(request, spool, services.limits)
            task, is_adapted = await services.tasks.create(new, wait_s=wait_s)
        if not is_adapted:
            response.status_code = 202
            response.headers["Retry-After"] = POLL_AFTER_S
    response.headers["Location"] = f"/v1/tasks/{task.id}"
    return task


@router.get("", response_model=Page[Task], summary="List tasks", responses=problems(InvalidRequest))
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
