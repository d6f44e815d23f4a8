"""Server-sent events on the wire, as the HTML standard has them: their frames, headers and heartbeats."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from service.api.problems import UNEXPECTED, problem_document
from service.errors import ServiceError

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT_S: Final = 10.0
HEARTBEAT: Final = ": still here\n\n"
"""A comment, which keeps a stream open through proxies where nothing changes."""

LAST_ID: Final = "end"
"""Id of the last event of a stream, which a browser's EventSource sends along when it comes back."""

_HEADERS: Final = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
_LOOK_S: Final = 0.25

_log = logging.getLogger("handful.api")

Result = TypeVar("Result")


def streamed(events: AsyncIterator[str]) -> StreamingResponse:
    """The answer whose body these frames are."""
    return StreamingResponse(events, media_type=MEDIA_TYPE, headers=_HEADERS)


def framed(name: str, data: str, *, last: bool = False) -> str:
    """One event; `data` is JSON in one line."""
    mark = f"id: {LAST_ID}\n" if last else ""
    return f"event: {name}\n{mark}data: {data}\n\n"


async def followed(
    running: asyncio.Task[Result], look: Callable[[], BaseModel], told: Callable[[Result], str]
) -> AsyncIterator[str]:
    """The stream of something that runs: `progress` where it changed, then what came of it, or `failed`.

    Args:
        running: what runs; it is cancelled if nobody reads on.
        look: how far it is.
        told: the last event, of its result.
    """
    loop = asyncio.get_running_loop()
    seen, told_at = None, loop.time()
    try:
        while not (await asyncio.wait({running}, timeout=_LOOK_S))[0]:
            now = look()
            if now != seen:
                yield framed("progress", now.model_dump_json())
            elif loop.time() - told_at >= HEARTBEAT_S:
                yield HEARTBEAT
            else:
                continue
            seen, told_at = now, loop.time()
        yield await _ended(running, told)
    except ClientDisconnect:
        return
    finally:
        running.cancel()


async def _ended(running: asyncio.Task[Result], told: Callable[[Result], str]) -> str:
    try:
        return told(await running)
    except ClientDisconnect:
        raise
    except ServiceError as error:
        problem = error
    except Exception:  # noqa: BLE001  # the status is sent, so that it can only be told here
        _log.exception("a stream ends with what nobody foresaw")
        problem = ServiceError(UNEXPECTED)
    return framed("failed", json.dumps(problem_document(problem)), last=True)
