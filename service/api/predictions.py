"""Predictions: images in, labels and probabilities out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.api.bodies import images_body
from service.api.connections import while_connected
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
    InvalidOption,
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

MAX_NEAREST = 100

router = APIRouter(prefix="/v1/tasks/{task}", tags=["predictions"])


@router.post(
    "/predict",
    response_model=Prediction,
    response_model_exclude_defaults=True,
    summary="Label images",
    openapi_extra=images_body(),
    responses=problems(
        TaskNotFound,
        VersionNotFound,
        TaskNotReady,
        BaseModelGone,
        InvalidRequest,
        InvalidOption,
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
    nearest: Annotated[
        int | None, Query(ge=1, le=MAX_NEAREST, description="name so many of the version's most similar examples")
    ] = None,
) -> views.PredictionView:
    """Label one image, sent as the body, or several, sent as `files` of a form.

    The answer for an image depends on that image and the task only, never on the images beside it.
    """
    with Spool() as spool:
        uploads = await read_images(request, spool, services.limits)
        work = services.predictions.predict(
            task_id, uploads, deadline_s=services.deadline_s, version=version, top_k=top_k, nearest=nearest
        )
        prediction = await while_connected(request, work)
    services.metrics.predicted_images.inc(len(uploads))
    return prediction
