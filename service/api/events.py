"""Server-sent events of an adaptation, as the HTML standard has them.

A stream that ends at `ready` or `failed` would be opened again by a browser's EventSource. The last event has the id
`end`, which EventSource then sends along, and the answer to that is 204, which tells it to stop.
"""

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Header, Response

from service.api.deps import Services, ServicesDep, TaskId, VersionNumber
from service.api.openapi import problems
from service.api.problems import problem_document
from service.api.schemas import Progress, Version
from service.api.streams import HEARTBEAT, HEARTBEAT_S, LAST_ID, MEDIA_TYPE, framed, streamed
from service.errors import ServiceError, TaskNotFound, VersionNotFound
from service.usecases import views

_EVENT: Final = {
    "type": "object",
    "description": "one event of the stream",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["queued", "adapting", "ready", "failed", "gone"]},
        "id": {"type": "string", "const": LAST_ID, "description": "of the last event only"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_STREAM: Final = {
    "schema": _EVENT,
    "example": {"event": "adapting", "data": '{"number":2,"state":"adapting","place":null,"progress":0.4}'},
}

_log = logging.getLogger("handful.api")

router = APIRouter(prefix="/v1/tasks/{task}", tags=["versions"])


@router.get(
    "/versions/{number}/events",
    response_class=Response,
    summary="Watch an adaptation",
    responses={
        200: {"description": "Server-sent events", "content": {MEDIA_TYPE: _STREAM}},
        204: {"description": f"`Last-Event-ID` is `{LAST_ID}`: there is no more to tell."},
        **problems(TaskNotFound, VersionNotFound),
    },
)
async def watch_version(
    task_id: TaskId,
    number: VersionNumber,
    services: ServicesDep,
    last_event_id: Annotated[
        str | None, Header(description="what a browser sends when it opens the stream again")
    ] = None,
) -> Response:
    """Tell how an adaptation goes on: `queued` with its place, `adapting` with its progress, then `ready` or `failed`.

    Each event is named by the state; the last one's data is the version. If the task is removed meanwhile, the last
    event is `gone` with a problem document. A stream that ends without a last event can be opened again, anywhere.
    """
    if last_event_id == LAST_ID:
        return Response(status_code=204)
    seen = await services.progress.look(task_id, number)
    return streamed(_events(services, task_id, seen))


async def _events(services: Services, task_id: UUID, seen: views.ProgressView) -> AsyncIterator[str]:
    """The stream; a comment keeps it open through proxies where nothing changes."""
    told_at = time.monotonic()
    try:
        async with aclosing(services.progress.watch(task_id, seen)) as changes:
            async for change in changes:
                if change is not None:
                    yield _event(change)
                elif time.monotonic() - told_at >= HEARTBEAT_S:
                    yield HEARTBEAT
                else:
                    continue
                told_at = time.monotonic()
    except (TaskNotFound, VersionNotFound) as error:
        yield framed("gone", json.dumps(problem_document(error)), last=True)
    except ServiceError as error:
        _log.warning("a stream of events ends early: %s", error.message)


def _event(seen: views.ProgressView) -> str:
    if seen.is_over:
        return framed(seen.version.state, Version.model_validate(seen.version).model_dump_json(), last=True)
    return framed(seen.version.state, Progress.model_validate(seen).model_dump_json())
