"""Suggestions: which of many unlabelled images to label next.

For a thousand photographs that takes a minute and more: who asks for `text/event-stream` is told how far it is.
"""

import asyncio
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from service.api.bodies import pool_body
from service.api.connections import while_connected
from service.api.deps import ServicesDep, TaskId
from service.api.life_schemas import PoolProgress, Suggestions
from service.api.openapi import problems
from service.api.spool import Spool
from service.api.streams import MEDIA_TYPE, followed, framed, streamed
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
from service.usecases.suggestions import PoolCount
from service.usecases.views import SuggestionView

_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "one event of the stream, where the request accepts it",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["progress", "suggestions", "failed"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_STREAM: Final = {"schema": _EVENT, "example": {"event": "progress", "data": '{"read":400,"seen":128,"of":400}'}}

router = APIRouter(prefix="/v1/tasks/{task}", tags=["examples"])


@router.post(
    "/suggest",
    response_model=Suggestions,
    summary="Say which images to label next",
    openapi_extra=pool_body(),
    responses={
        200: {"content": {MEDIA_TYPE: _STREAM}},
        **problems(
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
    },
)
async def suggest_images(task_id: TaskId, request: Request, services: ServicesDep) -> SuggestionView | Response:
    """Rank unlabelled images by how much a label would help; nothing of them is stored.

    At few labels those come first that are typical of many and unlike every example; at many, those that the task is
    least sure of. With `Accept: text/event-stream` the answer is a stream: `progress` with how many of the images are
    read and looked at, then `suggestions` with the answer, or `failed` with a problem document.
    """
    with ExitStack() as open_files:
        spool = open_files.enter_context(Spool())
        uploads, fields = await read_pool(request, spool, services.limits)
        count = PoolCount(len(uploads))
        work = while_connected(
            request,
            services.suggestions.suggest(
                task_id, uploads, n_wanted=fields.n, deadline_s=services.deadline_s, count=count
            ),
        )
        if MEDIA_TYPE not in request.headers.get("accept", ""):
            return await work
        running = asyncio.create_task(work)
        running.add_done_callback(partial(_close, open_files.pop_all()))
    return streamed(followed(running, lambda: PoolProgress.model_validate(count), _last_event))


def _close(open_files: ExitStack, _running: object) -> None:
    open_files.close()


def _last_event(found: SuggestionView) -> str:
    return framed("suggestions", Suggestions.model_validate(found).model_dump_json(), last=True)
