"""Evaluation: a labelled query set in, figures out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.api.bodies import query_set_body
from service.api.connections import while_connected
from service.api.deps import MAX_NUMBER, ServicesDep, TaskId
from service.api.evaluation_schemas import Evaluation, NoQuerySet
from service.api.openapi import problems
from service.api.spool import Spool
from service.api.uploads import FORM, JSON, media_type, read_json, read_query_set
from service.errors import (
    BaseModelGone,
    DamagedImage,
    DeadlineExceeded,
    EngineBusy,
    EngineNotReady,
    ImageTooLarge,
    InvalidRequest,
    TaskNotFound,
    TaskNotReady,
    UnsupportedImage,
    UnsupportedMediaType,
    UploadRejected,
    VersionNotFound,
    WorkerDied,
)
from service.usecases.evaluation_figures import EvaluationView

router = APIRouter(prefix="/v1/tasks/{task}", tags=["predictions"])


@router.post(
    "/evaluate",
    response_model=Evaluation,
    summary="Measure how good a task is",
    openapi_extra=query_set_body(),
    responses=problems(
        TaskNotFound,
        VersionNotFound,
        TaskNotReady,
        BaseModelGone,
        InvalidRequest,
        UploadRejected,
        DamagedImage,
        UnsupportedImage,
        UnsupportedMediaType,
        ImageTooLarge,
        EngineBusy,
        EngineNotReady,
        WorkerDied,
        DeadlineExceeded,
    ),
)
async def evaluate_task(
    task_id: TaskId,
    request: Request,
    services: ServicesDep,
    version: Annotated[int | None, Query(ge=1, le=MAX_NUMBER, description="another version than the current")] = None,
) -> EvaluationView:
    """Answer labelled images, each by itself, and compare; nothing of them is stored.

    Send `files` and `labels`, or `archive`, as for examples. Without a body the version's own report is told: each of
    its examples answered by a model made without it.
    """
    kind = media_type(request)
    if kind not in {FORM, JSON, ""}:
        raise UnsupportedMediaType(
            f"{kind[:100]!r} is not read here; send {FORM} with 'files' and 'labels', or no body"
        )
    if kind != FORM:
        await read_json(request, NoQuerySet)
        return await services.evaluations.report(task_id, version=version)
    with Spool() as spool:
        uploads, fields = await read_query_set(request, spool, services.limits)
        work = services.evaluations.evaluate(
            task_id,
            uploads,
            deadline_s=services.deadline_s,
            version=version,
            unknown_labels=fields.unknown_labels,
        )
        return await while_connected(request, work)
