"""Suggestions: which of many unlabelled images to label next."""

from fastapi import APIRouter, Request

from service.api.bodies import pool_body
from service.api.connections import while_connected
from service.api.deps import ServicesDep, TaskId
from service.api.life_schemas import Suggestions
from service.api.openapi import problems
from service.api.spool import Spool
from service.api.uploads import read_pool
from service.errors import (
    BaseModelGone,
    DeadlineExceeded,
    EngineBusy,
    EngineNotReady,
    InvalidRequest,
    TaskNotFound,
    UnknownBaseModel,
    UnsupportedMediaType,
    UploadRejected,
    WorkerDied,
)
from service.usecases.views import SuggestionView

router = APIRouter(prefix="/v1/tasks/{task}", tags=["examples"])


@router.post(
    "/suggest",
    response_model=Suggestions,
    summary="Say which images to label next",
    openapi_extra=pool_body(),
    responses=problems(
        TaskNotFound,
        BaseModelGone,
        InvalidRequest,
        UnknownBaseModel,
        UploadRejected,
        UnsupportedMediaType,
        EngineBusy,
        EngineNotReady,
        WorkerDied,
        DeadlineExceeded,
    ),
)
async def suggest_images(task_id: TaskId, request: Request, services: ServicesDep) -> SuggestionView:
    """Rank unlabelled images by how much a label would help; nothing of them is stored.

    At few labels those come first that are typical of many and unlike every example; at many, those that the task is
    least sure of.
    """
    with Spool() as spool:
        uploads, fields = await read_pool(request, spool, services.limits)
        work = services.suggestions.suggest(task_id, uploads, n_wanted=fields.n, deadline_s=services.deadline_s)
        return await while_connected(request, work)
