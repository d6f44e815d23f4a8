"""Predictions: images in, labels and probabilities out."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect

from service.api.bodies import images_body
from service.api.deps import MAX_NUMBER, ServicesDep, TaskId
from service.api.openapi import problems
from service.api.schemas import Prediction
from service.api.spool import Spool
from service.api.uploads import read_images
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
from service.usecases import views

Result = TypeVar("Result")

router = APIRouter(prefix="/v1/tasks/{task}", tags=["predictions"])


@router.post(
    "/predict",
    response_model=Prediction,
    summary="Label images",
    openapi_extra=images_body(),
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
async def predict(
    task_id: TaskId,
    request: Request,
    services: ServicesDep,
    top_k: Annotated[int | None, Query(ge=1, le=MAX_NUMBER, description="only the best scores")] = None,
    version: Annotated[int | None, Query(ge=1, le=MAX_NUMBER, description="another version than the current")] = None,
) -> views.PredictionView:
    """Label one image, sent as the body, or several, sent as `files` of a form.

    The answer for an image depends on that image and the task only, never on the images beside it.
    """
    with Spool() as spool:
        uploads = await read_images(request, spool, services.limits)
        work = services.predictions.predict(
            task_id, uploads, deadline_s=services.deadline_s, version=version, top_k=top_k
        )
        prediction = await _while_connected(request, work)
    services.metrics.predicted_images.inc(len(uploads))
    return prediction


async def _while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """The result of the work, which is cancelled if the client leaves meanwhile.

    Raises:
        ClientDisconnect: it left.
    """
    this = asyncio.current_task()
    assert this is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_left = True
        this.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not has_left or this.uncancel() > 0:
            raise
        raise ClientDisconnect from None
    finally:
        watcher.cancel()
